"""Python's garbage collector, which goes through all objects of a process when many are made at once."""

import gc
import os
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")
_pauses: set[object] = set()  # those that switched it off, of all threads


def paused(call: Callable[[], _Result]) -> _Result:
    """What the call returns, with the collector off while it runs: for calls that make many objects, none of them in cycles.

    >>> paused(lambda: [(k,) for k in range(3)])
    [(0,), (1,), (2,)]

    The collector is then as it was, also after an exception or an interrupt, and in what another thread forks meanwhile.
    """
    if not gc.isenabled():
        return call()
    pause = object()
    try:  # from here on, as an interrupt may follow the switch at once
        _pauses.add(pause)
        gc.disable()
        return call()
    finally:
        gc.enable()
        _pauses.discard(pause)


def _resume() -> None:
    """In the child of a fork, which has none of the threads that would switch the collector on again."""
    if _pauses:
        _pauses.clear()
        gc.enable()


os.register_at_fork(after_in_child=_resume)
