"""What of torch.nn.init is replaced while a tape runs, and what is not told to it: all else is seen as operators.

``_no_grad_trunc_normal_`` is private, and the same in torch 2.11 to 2.13; ``trunc_normal_`` looks it up when it is called, through
partials and captured references too. It draws in a loop until all values are inside: the tape is to see one law.
"""

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Generator, Tensor, nn

from fastinit.law.distributions import TruncatedNormal
from fastinit.recipe.tape import Tape
from fastinit.recipe.weightless import Weightless

_NAME = "_no_grad_trunc_normal_"
_running = threading.local()  # .tapes: those of this thread, the innermost last
_lock = threading.Lock()
_entered = 0
_original: Any = None


@contextmanager
def recording(tape: Tape, weightless: bool = False) -> Iterator[None]:
    """Within it, what this thread does is noted on the tape. Other threads, and everything afterwards, see torch as it was.

    ``weightless``: what is made takes no memory, and torch.nn.init does on the meta device what it does on others.
    """
    tapes = _tapes()
    with _replaced(), uncompiled(), Weightless() if weightless else nullcontext(), tape:
        tape.outer = tapes[-1] if tapes else None
        tapes.append(tape)
        try:
            yield
        finally:
            tapes.pop()


class _Uncompiled:
    """Within it nothing runs compiled: a mode sees nothing of that, and no trace of what is replaced may outlive it.

    torch has one stance for all threads: the first that enters sets it, and the last that leaves sets it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered = 0
        self._stance = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._entered and "torch._dynamo" in sys.modules:
                self._stance.enter_context(torch.compiler.set_stance("force_eager"))
            self._entered += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._entered -= 1
            if not self._entered:
                self._stance.close()


_UNCOMPILED = _Uncompiled()


def uncompiled() -> AbstractContextManager[None]:
    """Within it nothing runs compiled, on any thread."""
    return _UNCOMPILED


def _tapes() -> list[Tape]:
    if not hasattr(_running, "tapes"):
        _running.tapes = []
    found: list[Tape] = _running.tapes
    return found


@contextmanager
def _replaced() -> Iterator[None]:
    """The hook is there while any thread records."""
    global _entered, _original
    with _lock:
        if not _entered:
            _original = getattr(nn.init, _NAME)
            setattr(nn.init, _NAME, _trunc_normal_)
        _entered += 1
    try:
        yield
    finally:
        with _lock:
            _entered -= 1
            if not _entered:
                setattr(nn.init, _NAME, _original)


def _trunc_normal_(
    tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Generator | None = None
) -> Tensor:
    tapes = _tapes()
    if not tapes:
        return _original(tensor, mean, std, a, b, generator=generator)  # type: ignore[no-any-return]
    if mean < a - 2 * std or mean > b + 2 * std:
        text = "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The values follow the law all the same."
        warnings.warn(text, stacklevel=3)
    tapes[-1].draw(tensor, TruncatedNormal(mean, std, a, b))
    return tensor
