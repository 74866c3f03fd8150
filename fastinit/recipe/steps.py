"""Steps: a computation as data, by which two of them are compared: a row a value, each after those that it is made from."""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from fastinit.recipe.boxes import View
from fastinit.recipe.pieces import seen_writes
from fastinit.recipe.places import Placed
from fastinit.recipe.replay import settings, wide
from fastinit.recipe.values import VALUES, Call, Drawn, Foreign, Leaf, Literal, Read, Same, Value, inputs_of

Steps = tuple[tuple[Any, ...], ...]


def steps_of(value: Value, placed: Mapping[Leaf, Placed]) -> Steps:
    """All that a value depends on. Equal steps give equal values, whoever has recorded them, and on which device."""
    steps: list[tuple[Any, ...]] = []
    numbers: dict[int, int] = {}
    known: dict[tuple[Any, ...], int] = {}  # two values of one content are one step
    waiting = [value]
    while waiting:
        last = waiting[-1]
        missing = [other for other in _made_from(last) if id(other) not in numbers]
        if missing and id(last) not in numbers:
            waiting += missing
            continue
        waiting.pop()
        if id(last) not in numbers:
            step = _step(last, numbers, placed)
            number = known.setdefault(step, len(steps))
            if number == len(steps):
                steps.append(step)
            numbers[id(last)] = number
    return tuple(steps)


def _made_from(value: Value) -> Iterator[Value]:
    if isinstance(value, Call):
        yield from inputs_of(value)
    elif isinstance(value, Read):
        yield from (written for _, written in _seen_in(value))


def _step(value: Value, numbers: Mapping[int, int], placed: Mapping[Leaf, Placed]) -> tuple[Any, ...]:
    """A value, with the numbers of the steps in the place of what it is made from."""
    match value:
        case Drawn(leaf, law, view):
            return "drawn", placed.get(leaf), law, view
        case Same(number, shape):
            return "same", repr(number), shape
        case Literal(tensor) | Foreign(tensor):
            return "tensor", tuple(tensor.shape), str(tensor.dtype), _digest(tensor)
        case Read(state, view):
            writes = tuple((written, numbers[id(part)]) for written, part in _seen_in(value))
            return "read", view, str(wide(state.dtype)), writes
        case Call(function, args, kwargs, result):
            given = tree_map_only(VALUES, lambda part: f"step {numbers[id(part)]}", (args, settings(kwargs)))
            return "call", function.name(), repr(given), result
    return type(value).__name__, repr(value)


def _seen_in(read: Read) -> list[tuple[View | None, Value]]:
    """The writes that something is to be seen of, the oldest first, and what was there before them."""
    writes: list[tuple[View | None, Value]] = [(None, read.state.base), *reversed(list(read.state.writes()))]
    seen = seen_writes(read)
    return [write for number, write in enumerate(writes) if number in seen]


def _digest(tensor: Tensor) -> str:
    plain = tensor.detach().cpu().contiguous()
    return blake2b(plain.reshape(-1).view(torch.uint8).numpy().tobytes(), digest_size=16).hexdigest()
