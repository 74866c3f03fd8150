"""What of torch.nn.init is replaced while a tape runs, and what is not told to it: all else is seen as operators.

``_no_grad_trunc_normal_`` is private, and the same in torch 2.11 to 2.13; ``trunc_normal_`` looks it up when it is called, through
partials and captured references too. It draws in a loop until all values are inside: the tape is to see one law.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import Generator, Tensor, nn

from fastinit.init.fills import made
from fastinit.law.distributions import TruncatedNormal
from fastinit.recipe.shared import Noted, Replaced, Uncompiled
from fastinit.recipe.tape import Tape
from fastinit.recipe.weightless import Weightless

_running = threading.local()  # .tapes: those of this thread, the innermost last


@contextmanager
def recording(tape: Tape, weightless: bool = False) -> Iterator[None]:
    """Within it, what this thread does is noted on the tape. Other threads, and everything afterwards, see torch as it was.

    ``weightless``: what is made takes no memory, and torch.nn.init does on the meta device what it does on others.
    """
    tapes = _tapes()
    with _HOOK, _UNCOMPILED, _NOTED, Weightless() if weightless else nullcontext(), tape:
        tape.outer = tapes[-1] if tapes else None
        tapes.append(tape)
        try:
            yield
        finally:
            tapes.remove(tape)


def _tapes() -> list[Tape]:
    if not hasattr(_running, "tapes"):
        _running.tapes = []
    found: list[Tape] = _running.tapes
    return found


def _trunc_normal_(
    tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Generator | None = None
) -> Tensor:
    tapes = _tapes()
    if not tapes:
        return _HOOK.original(tensor, mean, std, a, b, generator=generator)  # type: ignore[no-any-return]
    if mean < a - 2 * std or mean > b + 2 * std:
        text = "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The values follow the law all the same."
        warnings.warn(text, stacklevel=3)
    tapes[-1].draw(tensor, made(TruncatedNormal, mean, std, a, b))
    return tensor


_HOOK = Replaced(nn.init, "_no_grad_trunc_normal_", _trunc_normal_)
_UNCOMPILED = Uncompiled()
_NOTED = Noted()
