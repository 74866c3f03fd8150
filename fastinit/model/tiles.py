"""What a parameter may get besides one law: boxes with laws of their own, or values that are computed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import add

from torch import Tensor

from fastinit.law.transformed import Law
from fastinit.shard.geometry import LocalShard, Shape


@dataclass(frozen=True, slots=True)
class Tile:
    """A box of a parameter, its law, and whose numbers it has: those of the parameter called ``source``, where ``shard`` says.

    >>> Tile((1, 0), (9, 8), Normal(0.0, 0.02), "wte.weight", LocalShard((10, 8), (1, 0)))  # all rows but the first, as its own
    >>> Tile((0, 0), (9, 8), Normal(0.0, 0.02), "experts", LocalShard((64, 18, 8), (3, 0, 0)), (-1, 0, 1))  # a half of expert 3

    ``dims`` has the dimension of the tile that lies along each one of the source, and -1 where the tile has one index of it; none
    at all where they are the same. A dimension of the tile that is not in it has one index.
    """

    offset: Shape
    shape: Shape
    law: Law
    source: str
    shard: LocalShard
    dims: Shape = ()

    def cut(self, view: Tensor, place: LocalShard) -> tuple[Tensor, LocalShard] | None:
        """The part of a tensor that lies in the tile, and where in the source; None where there is none.

        ``place`` says where the tensor lies in the parameter. The part has the dimensions of the source.
        """
        part = self.within(place.global_offset, tuple(view.shape))
        if part is None:
            return None
        ends = map(add, part.offset, part.shape)
        return part.turned(view[tuple(map(slice, part.offset, ends))]), part.shard

    def within(self, offset: Shape, shape: Shape) -> "Tile | None":
        """The part of it that lies in a box of the parameter, as a tile of that box; None where there is none."""
        first, sizes, inside = [], [], []
        for begin, size, start, length in zip(self.offset, self.shape, offset, shape, strict=True):
            low, high = max(begin, start), min(begin + size, start + length)
            if low >= high:
                return None
            first.append(low - start)
            sizes.append(high - low)
            inside.append(low - begin)
        origin = self.shard.global_offset
        there = tuple(o if d < 0 else o + inside[d] for o, d in zip(origin, self.along, strict=True))
        return replace(self, offset=tuple(first), shape=tuple(sizes), shard=LocalShard(self.shard.global_shape, there))

    @property
    def along(self) -> Shape:
        """``dims`` in full."""
        return self.dims or tuple(range(len(self.shape)))

    @property
    def box(self) -> Shape:
        """Its shape in the source."""
        return tuple(1 if d < 0 else self.shape[d] for d in self.along)

    def turned(self, part: Tensor) -> Tensor:
        """A tensor of the tile's shape with the dimensions of the source, over the same memory."""
        if not self.dims:
            return part
        kept = [d for d in self.dims if d >= 0]
        single = [d for d in range(part.ndim) if d not in kept]
        index = [None if d < 0 else slice(None) for d in self.dims] + [0] * len(single)
        return part.permute((*kept, *single))[tuple(index)]


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
class Held(Computed):
    """Values that depend on no seed, of any dtype."""

    values: Tensor

    @property
    def sources(self) -> tuple[str, ...]:
        """None: nothing was drawn."""
        return ()

    def __str__(self) -> str:
        return "given"

    def value(self, seed: int) -> Tensor:
        """The whole logical tensor."""
        return self.values


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """Values that are there: the whole of a logical tensor."""

    values: Tensor


Content = Law | Tiled | Computed | Fixed  # what a plan has for a parameter
