"""Work in pieces that this thread and others share; it is left only when none of them is at work any more.

An exception may come at any moment: an interrupt, a test's timeout, a piece that fails; and several of them at once. The memory
that the other threads write to must outlive them, so nobody leaves before the last one has stopped. What a signal handler raises
comes between two steps of Python, never within a call of a C function. So the caller leaves by one such call, that tells the
others to stop and waits for them: an iterator over all that leaving takes is made before the work begins, and ``deque`` goes
through it.

The threads and the locks are our own. OpenMP's threads are not safe after a fork; and ``ThreadPoolExecutor`` and
``threading.Thread`` go through a ``Condition`` written in Python, which an interrupt at the wrong moment leaves locked for ever.
Waiting for a lock object of Python's is ended by signals, so the locks are those beneath it, of Python's C interface.
"""

import ctypes
import os
from _thread import allocate_lock, start_new_thread
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from queue import SimpleQueue

Work = Callable[[int], object]

_new = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyThread_allocate_lock", ctypes.pythonapi))
_acquire = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(("PyThread_acquire_lock", ctypes.pythonapi))
_release = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("PyThread_release_lock", ctypes.pythonapi))


def run(work: Work, pieces: int, threads: int) -> None:
    """Call ``work(k)`` for each ``k`` in ``range(pieces)``, in this thread and up to ``threads - 1`` others.

    >>> run(lambda k: fill_tile(tensor, k), pieces=64, threads=8)

    Raises what a piece raises, or what interrupts this thread, after the pieces at hand: no other one is begun. Threads that
    cannot be had, at the interpreter's end or past a limit of the system, are done without. Pieces are done again in a child
    that a signal handler forks meanwhile, as the threads that were at work are not there.
    """
    pool = _pool
    crew = _Crew(pool, work, pieces, min(threads, pieces) - 1)
    leaving = crew.leaving(pool)
    _check_depth(crew)
    try:
        try:
            pool.call(crew)
            crew.take()
        finally:
            deque(leaving, 0)
    finally:
        deque(leaving, 0)  # only where a profiler of the user's, which runs before the call, has raised in its place
    if pool is not _pool:
        for piece in range(pieces):
            work(piece)
    elif crew.errors:
        raise crew.errors.pop()


def _check_depth(crew: "_Crew") -> None:
    """Raise ``RecursionError`` where calls are so deep that the leaving would not come to its end: nothing has begun yet."""
    # No step of the leaving is deeper than these. The locks are held, and are not waited for.
    try:
        deque(map(_acquire, crew.ends, repeat(0)), 0)
    except ctypes.ArgumentError:  # what ctypes makes of it
        raise RecursionError("maximum recursion depth exceeded") from None


class _Crew:
    """This thread and others at one work."""

    def __init__(self, pool: "_Pool", work: Work, pieces: int, others: int) -> None:
        self.work = work
        self.waiting = deque(range(pieces))
        self.ends = [
            pool.lock() for _ in range(others)
        ]  # each is released when one of the others ends, or does not begin
        self.unbegun = dict(enumerate(self.ends))
        self.errors: list[BaseException] = []

    def take(self) -> None:
        """Take pieces as long as there are any."""
        while True:
            try:
                piece = self.waiting.popleft()
            except IndexError:
                return
            self.work(piece)

    def join(self, number: int) -> None:
        """What another thread does of it."""
        end = self.unbegun.pop(number, None)
        if end is None:  # too late: the caller has left
            return
        try:
            self.take()
        except BaseException as error:
            self.waiting.clear()
            if not self.errors:
                self.errors.append(error)
        finally:
            _release(end)

    def leaving(self, pool: "_Pool") -> Iterator[object]:
        """All that leaving takes. To go through it is to do it, and no step of it runs code written in Python."""
        late = map(self.unbegun.pop, range(len(self.ends)), repeat(None))
        return chain(
            map(deque.clear, (self.waiting,)),
            map(_release, filter(None, late)),
            map(_acquire, self.ends, repeat(1)),
            map(delattr, (self,), ("work",)),  # threads that are done hold nothing of what was filled
            map(pool.crews.pop, (self,), (None,)),
            map(pool.locks.append, self.ends),
        )

    def abandon(self) -> None:
        """Nobody else is at work any more, in a child of a fork."""
        self.waiting.clear()
        for end in self.ends:
            _release(end)


class _Pool:
    """Threads that wait for work, as many as were ever asked for at once. They end with the process."""

    def __init__(self) -> None:
        self.growing = allocate_lock()
        self.threads = 0
        self.jobs: SimpleQueue[tuple[_Crew, int]] = SimpleQueue()
        self.crews: dict[_Crew, None] = {}  # at work
        self.locks: list[int] = []  # held, and not in use

    def serve(self) -> None:
        while True:
            _Crew.join(*self.jobs.get())

    def lock(self) -> int:
        """A lock that is held."""
        try:
            return self.locks.pop()
        except IndexError:
            lock: int | None = _new()
            if lock is None:
                raise MemoryError("no lock for a thread") from None
            _acquire(lock, 1)
            return lock

    def call(self, crew: _Crew) -> None:
        """Have the others join the crew, each in a thread."""
        self.crews[crew] = None
        for number in range(len(crew.ends)):
            if number >= self.threads:
                # Never waited for: a signal handler may fill while this very thread holds it.
                if not self.growing.acquire(blocking=False):
                    return
                try:
                    if number >= self.threads:
                        start_new_thread(self.serve, ())
                        self.threads += 1
                except RuntimeError:
                    return
                finally:
                    self.growing.release()
            self.jobs.put((crew, number))


_pool = _Pool()


def _renew() -> None:
    """After a fork the parent's threads are gone, and its locks may be held."""
    global _pool
    before, _pool = _pool, _Pool()
    for crew in before.crews:
        crew.abandon()


os.register_at_fork(after_in_child=_renew)
