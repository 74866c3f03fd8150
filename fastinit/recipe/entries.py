"""What a recipe says of a parameter: laws by boxes, or what it takes to compute it."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fastinit.law.transformed import Constant, Law
from fastinit.shard.geometry import LocalShard, Shape


@dataclass(frozen=True, slots=True)
class Part:
    """A box of a parameter, its law, and whose numbers it has: the parameter's own, or those of another one, its ``source``.

    ``shard`` says where the box lies in the logical tensor of the source: in this parameter itself, unless it shares values.
    """

    offset: Shape
    shape: Shape
    law: Law
    source: str
    shard: LocalShard


class Computed(Protocol):
    """The values of a parameter that no law describes: drawn numbers, and what torch's operators make of them."""

    def value(self, seed: int) -> Tensor:
        """The whole logical tensor, in fp64 on the CPU."""
        ...

    @property
    def sources(self) -> tuple[str, ...]:
        """The streams whose numbers it is made from."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One parameter: its name, those of the parameters tied to it, its logical shape, and what it is filled with.

    Either ``parts``, which tile it, or ``computed``; neither for one that is left as it is, and ``note`` says why.
    """

    name: str
    tied: tuple[str, ...]
    shape: Shape
    parts: tuple[Part, ...] = ()
    computed: Computed | None = None
    note: str = ""

    @property
    def kind(self) -> str:
        """"law", "constant", "laws by box", "shared", "derived", or "kept"."""
        if self.computed is not None:
            return "derived"
        if not self.parts:
            return "kept"
        if any(part.source != self.name and not isinstance(part.law, Constant) for part in self.parts):
            return "shared"
        if len(self.parts) > 1:
            return "laws by box"
        return "constant" if isinstance(self.parts[0].law, Constant) else "law"
