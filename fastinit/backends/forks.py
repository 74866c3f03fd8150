"""What no child of a fork may find half done: an import, or LLVM at work. A fork waits until the lock is free.

In a child there is one thread. What another one had locked stays locked there, and what it had half changed stays so.
"""

import os
import threading

lock = threading.RLock()  # a thread that forks while it holds it goes on holding it, in parent and child
os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
