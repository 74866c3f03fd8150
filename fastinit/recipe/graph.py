"""Graph: what a parameter gets where no law says it: a computation, from numbers that are drawn by key."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fastinit.model.tiles import Computed
from fastinit.recipe.expression import expression
from fastinit.recipe.pieces import reached_from
from fastinit.recipe.places import Placed
from fastinit.recipe.replay import value_of
from fastinit.recipe.steps import steps_of
from fastinit.recipe.values import Drawn, Leaf, Read


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Graph(Computed):
    """The values of a parameter: a part of a storage, and where the leaves that it is made from come from.

    Two are equal where their values are computed alike, of the same numbers.
    """

    read: Read
    placed: Mapping[Leaf, Placed]

    @property
    def sources(self) -> tuple[str, ...]:
        """The streams whose numbers it is made from."""
        leaves = {value.leaf for value in reached_from(self.read) if isinstance(value, Drawn)}
        return tuple(dict.fromkeys(self.placed[leaf].stream for leaf in sorted(leaves, key=lambda leaf: leaf.order)))

    def __str__(self) -> str:
        return expression(self.read)

    def __repr__(self) -> str:
        return f"Graph({self})"  # not all of it: what is used twice would be there twice, and so on

    def value(self, seed: int) -> Tensor:
        """The whole logical tensor."""
        return value_of(self.read, self.placed, seed)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        return steps_of(self.read, self.placed) == steps_of(other.read, other.placed)

    def __hash__(self) -> int:
        return hash(self.sources)
