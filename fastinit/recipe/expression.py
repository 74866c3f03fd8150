"""A value as people write it: what operators were called with, and of which numbers."""

from typing import Any

import torch

from fastinit.model.report import law_text
from fastinit.recipe.intermediate import TimeStep, law_of
from fastinit.recipe.pieces import pieces_of
from fastinit.recipe.values import Call, Drawn, Foreign, Literal, Lost, Read, Same, Value

_LONGEST = 240  # characters
_DEEPEST = 16  # arguments of arguments
_PLACES = {"clone", "_to_copy", "expand", "copy", "contiguous", "alias"}  # which change nothing of what a value is
_SETTINGS = {"device", "dtype", "layout", "pin_memory", "memory_format", "generator"}


def expression(value: Value) -> str:
    """The value in short.

    >>> expression(Call(torch.ops.aten.log.default, (Call(torch.ops.aten.arange.start, (1, 9), {}, None),), {}, None))
    'log(arange(1, 9))'
    """
    text = _Writer().text(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class _Writer:
    """Writes no more than is shown, as a value that is used twice is written twice."""

    def __init__(self) -> None:
        self.left = _LONGEST

    def text(self, value: Any, depth: int = 0) -> str:
        """A value, or an argument."""
        if depth > _DEEPEST or self.left < 0:
            return "..."
        match value:
            case Read(state, view):
                pieces = pieces_of(state, view.distinct())
                parts = dict.fromkeys(self.text(piece.value, depth + 1) for piece in pieces or ())
                return " | ".join(parts) or "a view"
            case Call(function, args, kwargs):
                name = function.overloadpacket.__name__.rstrip("_") or str(function)
                if name in {place.rstrip("_") for place in _PLACES}:
                    return self.text(args[0], depth)
                given = [self.text(arg, depth + 1) for arg in args]
                given += [f"{key}={self.text(arg, depth + 1)}" for key, arg in kwargs.items() if key not in _SETTINGS]
                return f"{name}({', '.join(given)})"
            case list() | tuple():
                return f"[{', '.join(self.text(item, depth + 1) for item in value)}]"
        text = _leaf_text(value)
        self.left -= len(text)
        return text


def _leaf_text(value: Any) -> str:
    match value:
        case Drawn(_, TimeStep() as step, _):
            text = f"exp([{law_text(step.logarithm)}])"
            text = f"clamp({text}, {step.floor:g})" if step.floor else text
            for name in step.functions:
                text = f"{name}({text})"
            return text
        case Drawn(_, law, _):
            return f"[{law_text(law_of(law))}]" if law_of(law) is law else f"[{law}]"
        case Same(number):
            return f"{number:g}"
        case Foreign(tensor) | Literal(tensor):
            return f"a tensor of shape {tuple(tensor.shape)}"
        case Lost(why):
            return f"lost: {why}"
        case torch.dtype():
            return str(value).removeprefix("torch.")
    return str(value)
