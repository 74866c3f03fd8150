"""What a parameter may get besides one law: boxes with laws of their own, or values that are computed."""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import sub

from torch import Tensor

from fastinit.law.transformed import Law
from fastinit.shard.geometry import LocalShard, Shape


@dataclass(frozen=True, slots=True)
class Tile:
    """A box of a parameter, its law, and whose numbers it has: those of the parameter called ``source``, where ``shard`` says.

    >>> Tile((1, 0), (9, 8), Normal(0.0, 0.02), "wte.weight", LocalShard((10, 8), (1, 0)))  # all rows but the first, as its own
    """

    offset: Shape
    shape: Shape
    law: Law
    source: str
    shard: LocalShard

    def cut(self, view: Tensor, place: LocalShard) -> tuple[Tensor, LocalShard] | None:
        """The part of a tensor that lies in the tile, and where in the source; None where there is none.

        ``place`` says where the tensor lies in the parameter.
        """
        slices, first = [], []
        for begin, size, start, length, origin in zip(
            self.offset, self.shape, place.global_offset, view.shape, self.shard.global_offset, strict=True
        ):
            low, high = max(begin, start), min(begin + size, start + length)
            if low >= high:
                return None
            slices.append(slice(low - start, high - start))
            first.append(origin + low - begin)
        return view[tuple(slices)], LocalShard(self.shard.global_shape, tuple(first))

    @property
    def shift(self) -> Shape:
        """From a place in the parameter to the one in the source."""
        return tuple(map(sub, self.shard.global_offset, self.offset))


@dataclass(frozen=True, slots=True)
class Tiled:
    """Laws by box. The tiles have nothing in common, and are all of the parameter."""

    tiles: tuple[Tile, ...]

    def cut(self, view: Tensor, place: LocalShard) -> Iterator[tuple[Tile, Tensor, LocalShard]]:
        """The parts of a tensor that lie in each tile, and where in its source."""
        for tile in self.tiles:
            part = tile.cut(view, place)
            if part is not None:
                yield tile, *part


class Computed:
    """Values that no law describes: drawn numbers, and what operators of torch make of them."""

    __slots__ = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The streams whose numbers they are made from."""
        raise NotImplementedError

    def value(self, seed: int) -> Tensor:
        """The whole logical tensor, in fp64 on the CPU."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """Values that are there: the whole of a logical tensor."""

    values: Tensor


Content = Law | Tiled | Computed | Fixed  # what a plan has for a parameter
