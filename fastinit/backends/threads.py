"""Work in pieces that this thread and others share; it is left only when none of them is at work any more.

An exception may come at any moment: an interrupt, a test's timeout, a piece that fails. The memory that the other
threads write to must outlive them, so nobody leaves before the last one has stopped, and what they work on is theirs
to hold until then. Two rules make that hold against interrupts while waiting, too: all that this thread waits for is
a plain lock, and a flag that is set before the lock is released says whether there is anything to wait for.
Three exceptions that are pending at the same moment still get past both waits; the memory is held even then.

The threads are our own. OpenMP's are not safe after a fork; and
``ThreadPoolExecutor`` and ``threading.Thread`` go through a ``Condition`` written in Python, which an interrupt at the
wrong moment leaves locked for ever.
"""

import os
from _thread import allocate_lock, start_new_thread
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[int], object]


def run(work: Work, pieces: int, threads: int) -> None:
    """Call ``work(k)`` for each ``k`` in ``range(pieces)``, in this thread and up to ``threads - 1`` others.

    >>> run(lambda k: fill_tile(tensor, k), pieces=64, threads=8)

    Raises what a piece raises, or what interrupts this thread, after the pieces at hand: no other one is begun. Threads that
    cannot be had, at the interpreter's end or past a limit of the system, are done without.
    """
    waiting = deque(range(pieces))
    helpers = [_Helper(waiting, work) for _ in range(min(threads, pieces) - 1)]
    try:
        _call(helpers)
        _take(waiting, work)
    finally:
        try:
            _wait(waiting, helpers)
        finally:
            _wait(waiting, helpers)  # an interrupt may come before the first wait has begun, or after it
    for helper in helpers:
        if helper.error is not None:
            raise helper.error


def _take(waiting: deque[int], work: Work) -> None:
    """Take pieces as long as there are any."""
    while True:
        try:
            piece = waiting.popleft()
        except IndexError:
            return
        work(piece)


class _Helper:
    """What another thread does of it."""

    def __init__(self, waiting: deque[int], work: Work) -> None:
        self.waiting = waiting
        self.work = work
        self.begun = False  # set before a piece is taken: where it is not set yet, none is left to take
        self.ended = False
        self.end = allocate_lock()
        self.end.acquire()
        self.error: BaseException | None = None

    def __call__(self) -> None:
        self.begun = True
        try:
            _take(self.waiting, self.work)
        except BaseException as error:
            self.waiting.clear()
            self.error = error
        finally:
            del self.work  # what is filled is not held by a thread that is done
            self.ended = True
            self.end.release()


def _wait(waiting: deque[int], helpers: list[_Helper]) -> None:
    """Until no helper works; what interrupts it is raised in the end."""
    interrupt: BaseException | None = None
    waiting.clear()
    for helper in helpers:
        while helper.begun and not helper.ended:
            try:
                helper.end.acquire()
            except BaseException as error:
                interrupt = error
    if interrupt is not None:
        raise interrupt


# -------------------------------------------------------------------------------------------------------------- pool


class _Pool:
    """Threads that wait for helpers, as many as were ever asked for at once. They end with the process."""

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.threads = 0
        self.helpers: SimpleQueue[_Helper] = SimpleQueue()

    def serve(self) -> None:
        while True:
            self.helpers.get()()


_pool = _Pool()


def _call(helpers: list[_Helper]) -> None:
    """Have the helpers called, each in a thread."""
    pool = _pool
    for number, helper in enumerate(helpers, 1):
        if number > pool.threads:
            # Never waited for: a signal handler may fill while this very thread holds it.
            if not pool.lock.acquire(blocking=False):
                return
            try:
                if number > pool.threads:
                    start_new_thread(pool.serve, ())
                    pool.threads += 1
            except RuntimeError:
                return
            finally:
                pool.lock.release()
        pool.helpers.put(helper)


def _renew() -> None:
    """After a fork the parent's threads are gone, and its locks may be held."""
    global _pool
    _pool = _Pool()


os.register_at_fork(after_in_child=_renew)
