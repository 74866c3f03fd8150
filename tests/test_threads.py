"""Shared work is left only when no thread is at it any more, whatever is raised where; so is every fill on a CPU."""

import hashlib
import inspect
import itertools
import math
import os
import random
import signal
import subprocess
import sys
import threading
import weakref
from _thread import interrupt_main
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
import torch
from forked import Forked
from laws import assert_same_bits
from strategies import LAWS

import fastinit
from fastinit import Key
from fastinit.backends import llvm, reference, threads
from fastinit.fill import Fill
from fastinit.shard.geometry import LocalShard

MAIN = threading.main_thread()
LONG = bytes(2**23)  # to hash it takes some milliseconds, and frees the GIL


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("pieces", [0, 1, 2, 7, 100])
def test_every_piece_is_done_once(pieces, workers):
    done: Counter[int] = Counter()
    threads.run(lambda k: done.update([k]), pieces, workers)
    assert done == Counter(range(pieces))


class Watched:
    """Pieces that take a while; the main thread raises in its first one, once the others are at theirs."""

    def __init__(self, workers: int, in_main: Callable[[], object]) -> None:
        self.in_main = in_main
        self.begun, self.ended = itertools.count(), itertools.count()
        self.entered = [threading.Event() for _ in range(workers - 1)]

    def __call__(self, piece: int) -> None:
        if threading.current_thread() is MAIN:
            for event in self.entered:
                assert event.wait(60)
            self.in_main()
            return
        number = next(self.begun)
        if number < len(self.entered):
            self.entered[number].set()
        hashlib.sha256(LONG).digest()
        next(self.ended)

    def counts(self) -> tuple[int, int]:
        return next(self.begun), next(self.ended)


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_an_interrupt_arrives_when_the_pieces_at_hand_are_done(workers):
    work = Watched(workers, interrupt)
    with pytest.raises(KeyboardInterrupt):
        threads.run(work, 1000, workers)
    begun, ended = work.counts()
    assert begun == ended, "left while a thread was at work"
    assert begun < 1000 - workers, "the rest was done first"


SIGNALS = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGWINCH]


@pytest.mark.parametrize("workers", [2, 5])
@pytest.mark.parametrize("together", range(1, 7))
def test_exceptions_that_are_pending_together_do_not_end_the_wait(together, workers):
    """Each of these signals raises as soon as Python looks at it, wherever the leaving has come to by then."""
    raised: list[int] = []

    def interrupted(number: int, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code is not threads.run.__code__:
            frame = frame.f_back
        if frame is not None:  # it has not been left: what comes later would hit the test
            raised.append(number)
            raise KeyboardInterrupt

    def send() -> None:
        deque(map(interrupt_main, SIGNALS[:together]), 0)  # in one step, for Python

    work = Watched(workers, send)
    with handler(interrupted, *SIGNALS):
        with pytest.raises(KeyboardInterrupt):
            threads.run(work, 1000, workers)
        begun, ended = work.counts()
    assert begun == ended, "left while a thread was at work"
    assert raised, "nothing was raised in it"


@pytest.mark.parametrize("workers", [2, 5])
def test_work_at_any_depth_of_calls_is_left_whole(workers):
    """However near to the limit of recursion: what cannot be left is not begun."""
    begun, ended = itertools.count(), itertools.count()

    def work(piece: int) -> None:
        next(begun)
        hashlib.sha256(LONG).digest()
        next(ended)

    def deeper(levels: int) -> None:
        if levels:
            deeper(levels - 1)
        else:
            threads.run(work, 3, workers)

    raised = 0
    before, limit = sys.getrecursionlimit(), len(inspect.stack(0)) + 40
    for levels in range(40):
        sys.setrecursionlimit(limit)
        try:
            deeper(levels)
        except RecursionError:
            raised += 1
        finally:
            sys.setrecursionlimit(before)
        assert not threads._pool.crews, "the leaving ended before its end"
        assert next(begun) == next(ended), "left while a thread was at work"
    assert 0 < raised < 30


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # that is what is tested
@pytest.mark.parametrize("workers", [2, 5])
def test_a_fork_in_the_middle_finishes_the_work_in_parent_and_child(workers):
    """As when a signal handler forks: in the child the others are gone, and what they were at is half done."""
    done: Counter[int] = Counter()
    parent, children = os.getpid(), []

    def fork() -> None:
        if not children:
            children.append(os.fork())
            if os.getpid() != parent:
                signal.alarm(20)  # a child that waits for ever ends by it

    work = Watched(workers, fork)
    try:
        threads.run(lambda piece: (work(piece), done.update([piece])), 20, workers)
    finally:
        if os.getpid() != parent:
            os._exit(0 if set(done) == set(range(20)) else 1)
    assert done == Counter(range(20))
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


def test_a_piece_that_fails_in_another_thread_is_raised_and_ends_the_others():
    done = itertools.count()

    def work(piece: int) -> None:
        if threading.current_thread() is not MAIN:
            raise ValueError(f"piece {piece}")
        hashlib.sha256(LONG).digest()
        next(done)

    with pytest.raises(ValueError, match=r"^piece "):
        threads.run(work, 10_000, 3)
    assert next(done) < 10_000 - 2


def test_nothing_is_held_of_what_was_worked_on():
    """The threads stay, and some may have come too late to it."""

    class Work:
        def __call__(self, piece: int) -> None:
            hashlib.sha256(LONG).digest()

    for workers in (1, 2, 8):
        work = Work()
        gone = weakref.ref(work)
        threads.run(work, 3, workers)
        del work
        assert gone() is None


def test_threads_that_cannot_be_had_are_done_without(monkeypatch):
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_pool", threads._Pool())
    monkeypatch.setattr(threads, "start_new_thread", refuse)
    done: Counter[int] = Counter()
    threads.run(lambda k: done.update([k]), 10, 4)
    assert done == Counter(range(10))


# ------------------------------------------------------------------------------------------------------------- fills

SIZE = 2**20 + 77
FILL = Fill(LAWS["3sigma"], Key(7, 8), LocalShard.whole((SIZE,)))
SMALL = Fill(LAWS["3sigma"], Key(7, 8), LocalShard.whole((SIZE // 64,)))


def fill_list(tensor: torch.Tensor) -> None:
    parts = tensor.split(4099)
    fastinit.foreach_fill_(parts, FILL.distribution, keys=[Key(k) for k in range(len(parts))])


FILLS: dict[str, tuple[Callable[[torch.Tensor], None], int]] = {
    "llvm": (lambda tensor: llvm.fill_(tensor, FILL), SIZE),
    "list": (fill_list, SIZE),
    "reference": (lambda tensor: reference.fill_(tensor, SMALL), SIZE // 64),
}


@contextmanager
def handler(function: Callable[..., object], *numbers: int) -> Iterator[None]:
    """For these signals."""
    before = [signal.signal(number, function) for number in numbers]
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, former in zip(numbers, before, strict=True):
            signal.signal(number, former)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an interrupt may land in a finaliser
@pytest.mark.parametrize("workers", range(2, 9))
@pytest.mark.parametrize("name", FILLS)
def test_interrupted_fills_leave_nobody_writing(name, workers, monkeypatch):
    """24 interrupts at random moments, 504 in all: nothing outside of the tensor is written, and inside nothing later on."""
    fill, size = FILLS[name]
    monkeypatch.setattr(torch, "get_num_threads", lambda: workers)
    monkeypatch.setattr(llvm, "PIECE", 2**15)
    armed, chance, longest = False, random.Random(workers), 1e-3

    def alarm(*_: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise KeyboardInterrupt

    fill(torch.empty(size))  # compiled
    other = torch.empty(size)
    hits = 0
    with handler(alarm, signal.SIGALRM):
        while hits < 24:
            buffer = torch.full((size + 2048,), math.nan)
            tensor = buffer[1024:-1024]
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, longest))
                fill(tensor)
                armed = False
                longest = max(longest * 0.9, 1e-4)
            except KeyboardInterrupt:
                hits += 1
                longest *= 1.2
                assert torch.is_grad_enabled(), "an interrupt has left autograd off"
                left = buffer.clone()
                fill(other)  # with the same threads: what is still running goes on meanwhile
                assert_same_bits(buffer, left)
                assert bool(buffer[:1024].isnan().all() and buffer[-1024:].isnan().all())


AT_THE_END = """
import atexit, os, torch
torch.set_num_threads(4)
import fastinit
expected = fastinit.normal_(torch.empty(2**18), key=fastinit.Key(1))

def again():
    again = fastinit.normal_(torch.empty(2**18), key=fastinit.Key(1))
    os._exit(7 if torch.equal(again, expected) else 1)

atexit.register(again)
"""


def test_a_fill_while_the_interpreter_ends():
    """The threads are still there, or cannot be had any more."""
    done = subprocess.run([sys.executable, "-c", AT_THE_END], capture_output=True, check=False, timeout=60)
    assert done.returncode == 7, done.stderr


FORK_IN_THE_MIDDLE = """
import os, sys, threading, torch
torch.set_num_threads(4)
import fastinit
expected = fastinit.normal_(torch.empty(2**18), key=fastinit.Key(1))
over = threading.Event()

def fill_on():
    tensor = torch.empty(2**22)
    while not over.is_set():
        fastinit.normal_(tensor, key=fastinit.Key(2))

worker = threading.Thread(target=fill_on)
worker.start()
codes = []
for _ in range(20):
    child = os.fork()
    if child == 0:
        again = fastinit.normal_(torch.empty(2**18), key=fastinit.Key(1))
        os._exit(0 if torch.equal(again, expected) else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
over.set()
worker.join()
sys.exit(any(codes))
"""


def test_a_fork_in_the_middle_of_another_threads_fill():
    done = Forked("-c", FORK_IN_THE_MIDDLE).wait()
    assert done.returncode == 0, done.stderr
