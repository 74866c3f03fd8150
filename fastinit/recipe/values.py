"""What the tape says of a tensor's elements: a value, and the states of a storage that it may be read from.

A value is a logical tensor: it has a shape, and knows nothing of strides. A state is a storage's whole past, newest write first; it
never changes, so a value that reads one is what was there at the time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, dtype
from torch._ops import OpOverload

from fastinit.law.transformed import Law
from fastinit.recipe.boxes import View
from fastinit.shard.geometry import Shape


class Leaf:
    """Numbers that were drawn at once: independent ones of a law, in row-major order. Each draw is a leaf of its own."""

    __slots__ = ("law", "order", "shape")

    def __init__(self, law: Law, shape: Shape, order: int) -> None:
        self.law = law
        self.shape = shape
        self.order = order  # how many were drawn before it


@dataclass(frozen=True, slots=True)
class Drawn:
    """The elements of a leaf, or those of them that ``view`` says, through a monotone function: ``law`` is what they follow."""

    leaf: Leaf
    law: Any  # a Law, or one of lifting.py on its way to one
    view: View | None = None

    @property
    def lies(self) -> View:
        """Which elements of the leaf they are."""
        return View.dense(self.leaf.shape) if self.view is None else self.view


@dataclass(frozen=True, slots=True)
class Same:
    """One number everywhere in a tensor."""

    value: float
    shape: Shape = ()


@dataclass(frozen=True, slots=True)
class Unwritten:
    """Memory that nobody has written to."""


@dataclass(slots=True, eq=False)
class Foreign:
    """A tensor from elsewhere: loaded, or made before. It is held while the tape runs, and so must stay what it was.

    A recipe has a copy: it is used when the tensor may be another one.
    """

    tensor: Tensor

    def keep(self) -> None:
        """Take a copy, of all of its storage, as it lies there."""
        held = self.tensor
        storage = held.untyped_storage().clone()
        self.tensor = torch.empty(0, dtype=held.dtype, device=held.device).set_(
            storage, held.storage_offset(), held.shape, held.stride()
        )


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """Numbers that were given in Python."""

    tensor: Tensor


@dataclass(frozen=True, slots=True)
class Settled:
    """Values that fastinit has filled in with a key of their own."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What cannot be made again, and why."""

    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """The result of an operator of torch, or one of its results. Its tensors among ``args`` and ``kwargs`` are values."""

    function: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: int | None  # which of them, where there are several

    def __reduce__(self) -> tuple[Any, ...]:
        """An operator is a part of this process: a copy, or a file, has its name. A generator is nothing that is read again."""
        kwargs = {name: given for name, given in self.kwargs.items() if name != "generator"}
        return _call, (self.function.name(), self.args, kwargs, self.result)


def _call(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: int | None) -> Call:
    """The call of an operator by its name, as "aten::add.Tensor"."""
    packet, _, overload = name.partition(".")
    namespace, _, operator = packet.partition("::")
    function = getattr(getattr(getattr(torch.ops, namespace), operator), overload or "default")
    return Call(function, args, kwargs, result)


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A part of a storage, as it was."""

    state: "State"
    view: View


Value = Drawn | Same | Unwritten | Foreign | Literal | Settled | Lost | Call | Read
VALUES = (Drawn, Same, Unwritten, Foreign, Literal, Settled, Lost, Call, Read)


class State(NamedTuple):
    """A storage after a write: what was written where, and the state before, as far as any of it may still be seen."""

    before: "State | None"
    view: View
    value: Value
    base: Value  # what the storage held before the first write that was seen
    dtype: dtype

    def writes(self) -> Iterator[tuple[View, Value]]:
        """Every write, the newest first."""
        state: State | None = self
        while state is not None:
            yield state.view, state.value
            state = state.before


def inputs_of(call: Call) -> Iterator[Value]:
    """The values among the arguments of a call."""
    waiting: list[Any] = [call.args, call.kwargs]
    while waiting:
        item = waiting.pop()
        if isinstance(item, VALUES):
            yield item
        elif isinstance(item, dict):
            waiting += reversed(list(item.values()))
        elif isinstance(item, list | tuple):
            waiting += reversed(item)
