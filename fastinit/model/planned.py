"""What is known of a parameter, stage by stage: a Part of a model, what rules have Given it, and so what is Planned."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from fastinit.model.tiles import Content
from fastinit.model.walk import Found
from fastinit.shard.described import Boxes, boxes_of
from fastinit.shard.geometry import LocalShard, Shape
from fastinit.stream import Key


class Part(NamedTuple):
    """A parameter whose law is still to be told: what it is, which random numbers are its own, and where it lies."""

    found: Found
    key: Key
    shard: LocalShard | None

    @property
    def name(self) -> str:
        """The first of its names."""
        return self.found.name

    @property
    def parameter(self) -> Tensor:
        """The tensor."""
        return self.found.parameter

    @property
    def global_shape(self) -> Shape:
        """The shape of the logical tensor."""
        if self.shard is not None:
            return self.shard.global_shape
        kind = self.found.kind
        return kind.global_shape if kind is not None else tuple(self.found.parameter.shape)


class Parts(list[Part]):
    """The parameters of a model, and the modules in it that may have a config."""

    def __init__(self, parts: Iterable[Part], telling: Sequence[nn.Module]) -> None:
        super().__init__(parts)
        self.telling = telling


class Given(NamedTuple):
    """What rules give a parameter. ``law`` is None for one left as it is; ``role`` and ``note`` are words of the report.

    ``key`` is for a parameter whose random numbers are those of another name than its own.
    """

    role: str
    law: Content | None
    note: str = ""
    key: Key | None = None


class Rules(Protocol):
    """Who knows the laws: a method with its patterns (scheme.py), or any other that a plan can be made by."""

    @property
    def method(self) -> str:
        """What a report calls them."""

    @property
    def seed(self) -> int:
        """Of all keys."""

    @property
    def shards(self) -> Mapping[str, LocalShard] | None:
        """By parameter, where a plain tensor lies in a larger logical one."""

    def given(self, model: nn.Module, parts: Parts) -> Sequence[Given]:
        """What each parameter gets, in their order.

        Raises ``ValueError`` or ``TypeError``, with the parameters' names, where that cannot be told.
        """


class Source(Protocol):
    """What rules are made of that need no method: a recipe."""

    def rules(self, seed: int, shards: Mapping[str, LocalShard] | None, rename: Any, aliases: Any) -> "Rules":
        """The rules for a seed, and for a model with other names."""


class Planned(NamedTuple):
    """One parameter: where it is in the model, and what it is filled with. ``law`` is None for one left as it is."""

    part: Part
    role: str
    law: Content | None
    note: str = ""

    @property
    def name(self) -> str:
        """The first of its names."""
        return self.part.name

    @property
    def tied(self) -> tuple[str, ...]:
        """Its other names."""
        return self.part.found.tied

    @property
    def paths(self) -> tuple[str, ...]:
        """Its names as the modules have them."""
        return self.part.found.paths

    @property
    def parameter(self) -> Tensor:
        """The tensor."""
        return self.part.parameter

    @property
    def key(self) -> Key:
        """Its random numbers."""
        return self.part.key

    @property
    def shard(self) -> LocalShard | None:
        """Where a plain tensor lies in a larger logical one."""
        return self.part.shard

    @property
    def global_shape(self) -> Shape:
        """The shape of the logical tensor."""
        return self.part.global_shape

    def boxes(self) -> Boxes:
        """The plain tensors of this rank, each with its place in the logical tensor."""
        return boxes_of(self.parameter, self.shard)


class Plan(list[Planned]):
    """What all parameters of a model are filled with. ``packed`` are modules whose weights are no parameters."""

    def __init__(self, plan: Iterable[Planned], packed: tuple[str, ...]) -> None:
        super().__init__(plan)
        self.packed = packed
