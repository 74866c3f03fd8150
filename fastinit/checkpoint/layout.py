"""Layout: which part of a live model each tensor of a checkpoint is. A framework may fuse in memory what its files have apart.

It says places alone, so it holds whatever the laws are; ``laid_out`` gives the tensors of the files what the live ones have.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fastinit.law.transformed import Constant
from fastinit.model.shown import shown
from fastinit.model.tiles import Computed, Tile
from fastinit.recipe.boxes import MOST, Box, View
from fastinit.recipe.entries import Entry
from fastinit.recipe.pieces import Piece, pieces_of
from fastinit.recipe.storages import Storages
from fastinit.recipe.values import Drawn, Leaf
from fastinit.shard.geometry import LocalShard, Shape, coordinates, row_major_strides

_NO_LAW = Constant(0.0)


class Cut(NamedTuple):
    """A box of a tensor, and the box of a live parameter that it is; ``dims`` as in a tile."""

    box: Box
    source: str
    shard: LocalShard
    dims: Shape = ()

    @property
    def tile(self) -> Tile:
        """The same as a tile, whose law says nothing."""
        return Tile(*self.box, _NO_LAW, self.source, self.shard, self.dims)


class Laid(NamedTuple):
    """A tensor of a checkpoint: its shape, and what it is made of."""

    shape: Shape
    cuts: tuple[Cut, ...]


Layout = Mapping[str, Laid]


def as_it_is(name: str, shape: Shape) -> Laid:
    """All of a live parameter."""
    return Laid(shape, (Cut(Box.whole(shape), name, LocalShard.whole(shape)),))


def laid_out(layout: Layout, live: Mapping[str, Entry]) -> dict[str, Entry]:
    """What each tensor of a checkpoint is filled with, by what the live ones are.

    Raises ``ValueError`` for a tensor that is made of a live one with values of a law, and another that is computed.
    """
    return {name: _entry(name, laid, live) for name, laid in layout.items()}


def _entry(name: str, laid: Laid, live: Mapping[str, Entry]) -> Entry:
    sources = [live[cut.source] for cut in laid.cuts]
    if len(sources) == 1 and laid == as_it_is(sources[0].name, sources[0].shape):
        return Entry(name, (), laid.shape, sources[0].tiles, sources[0].computed)
    computed = [source.computed for source in sources if source.computed is not None]
    if not computed:
        tiles = [tile for cut, source in zip(laid.cuts, sources, strict=True) for tile in _tiles(cut, source)]
        return Entry(name, (), laid.shape, tuple(tiles))
    if len(computed) < len(sources):
        raise ValueError(f"{shown(name)}: expected laws alone or computed values alone, got it made of both")
    return Entry(name, (), laid.shape, computed=Parts(laid, tuple(computed)))


def _tiles(cut: Cut, source: Entry) -> Iterator[Tile]:
    """The source's tiles in a cut, as tiles of what the cut is a box of."""
    place = cut.tile
    for tile in source.tiles:
        part = tile.within(cut.shard.global_offset, place.box)
        if part is None:
            continue
        assert not tile.dims, "a live parameter has its own dimensions"
        offset, shape = list(place.offset), list(place.shape)
        for d, along in enumerate(place.along):
            if along >= 0:
                offset[along] += part.offset[d]
                shape[along] = part.shape[d]
        yield Tile(tuple(offset), tuple(shape), tile.law, tile.source, part.shard, cut.dims)


@dataclass(frozen=True, slots=True, eq=False)
class Parts(Computed):
    """Parts of live parameters that are computed."""

    laid: Laid
    whole: tuple[Computed, ...]  # what each cut is a part of

    @property
    def sources(self) -> tuple[str, ...]:
        """The streams whose numbers they are made from."""
        return tuple(dict.fromkeys(source for whole in self.whole for source in whole.sources))

    def __str__(self) -> str:
        return " and ".join(dict.fromkeys(f"a part of {shown(cut.source)}" for cut in self.laid.cuts))

    def value(self, seed: int) -> Tensor:
        """The whole tensor."""
        values = torch.empty(self.laid.shape, dtype=torch.float64, device="cpu")
        for cut, whole in zip(self.laid.cuts, self.whole, strict=True):
            tile = cut.tile
            part = tile.turned(values[_slices(cut.box.offset, cut.box.shape)])
            part.copy_(whole.value(seed)[_slices(cut.shard.global_offset, tile.box)])
        return values


def _slices(offset: Shape, shape: Shape) -> tuple[slice, ...]:
    return tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=True))


class Marks:
    """Live tensors whose elements are followed through what a framework does on its way to a checkpoint.

    Each is marked as drawn, so that the tape of a recipe tells where its elements have gone.
    """

    def __init__(self, live: Mapping[str, Tensor], storages: Storages) -> None:
        self._storages = storages
        self._names: dict[Leaf, str] = {}
        for order, (name, tensor) in enumerate(live.items()):
            leaf = Leaf(_NO_LAW, tuple(tensor.shape), order)
            self._names[leaf] = name
            storages.write(tensor, Drawn(leaf, None))

    def laid(self, tensor: Tensor) -> Laid | None:
        """What a tensor is made of; None where that is no box of live ones, or too many."""
        shape = tuple(tensor.shape)
        state, view = self._storages.state_of(tensor)
        pieces = None if state is None else pieces_of(state, view)
        cuts: list[Cut] = []
        for piece in pieces or ():
            found = self._cuts(piece)
            if found is None or len(cuts) + len(found) > MOST:
                return None
            cuts += found
        return Laid(shape, tuple(cuts)) if pieces else None

    def _cuts(self, piece: Piece) -> list[Cut] | None:
        """The boxes of a live tensor that a piece is."""
        drawn = piece.value
        if not isinstance(drawn, Drawn) or drawn.leaf not in self._names or piece.within is None:
            return None
        name, shape = self._names[drawn.leaf], drawn.leaf.shape
        cuts: list[Cut] = []
        waiting = [(piece.box, piece.within)]
        while waiting:
            box, within = waiting.pop()
            found = _followed(box.shape, within, drawn.lies, shape)
            if isinstance(found, tuple):
                offset, dims = found
                own = () if dims == tuple(range(len(box.shape))) else dims
                cuts.append(Cut(box, name, LocalShard(shape, offset), own))
            elif found is None or len(cuts) + len(waiting) > MOST:
                return None
            else:  # the box reaches past a dimension of what it is a part of
                d, size = found.dim, found.size
                waiting += [_half(box, within, d, size, box.shape[d] - size), _half(box, within, d, 0, size)]
        return cuts


@dataclass(frozen=True, slots=True)
class _Past:
    """A dimension of a box of which that many elements alone lie along one of the source."""

    dim: int
    size: int


def _half(box: Box, within: View, dim: int, start: int, size: int) -> tuple[Box, View]:
    offset = tuple(o + start * (d == dim) for d, o in enumerate(box.offset))
    shape = tuple(size if d == dim else n for d, n in enumerate(box.shape))
    return Box(offset, shape), View(within.offset + start * within.strides[dim], shape, within.strides)


def _followed(sizes: Shape, within: View, lies: View, shape: Shape) -> tuple[Shape, Shape] | _Past | None:
    """Where a box of those sizes lies in a source, and along which dimensions: through a value of which it is a part, and back."""
    offset, strides = within.offset, within.strides
    dims: dict[int, int] = {}
    for through, back in ((lies.shape, lies), (shape, View.dense(shape))):
        first = coordinates(offset, through)
        along = _along(sizes, strides, first, through)
        if not isinstance(along, dict):
            return along
        dims = along
        offset = back.offset + sum(c * t for c, t in zip(first, back.strides, strict=True))
        strides = tuple(back.strides[along[d]] if d in along else 0 for d in range(len(sizes)))
    lying = {source: d for d, source in dims.items()}
    return coordinates(offset, shape), tuple(lying.get(d, -1) for d in range(len(shape)))


def _along(sizes: Shape, strides: Shape, first: Shape, through: Shape) -> dict[int, int] | _Past | None:
    """The dimension of a row-major tensor that each one of a box lies along; those of one index along none."""
    steps = row_major_strides(through)
    found: dict[int, int] = {}
    for d, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        if size == 1:
            continue
        fitting = [e for e, step in enumerate(steps) if step == stride and through[e] > 1 and e not in found.values()]
        if not fitting:
            return None
        room = through[fitting[0]] - first[fitting[0]]
        if size > room:
            return _Past(d, room)
        found[d] = fitting[0]
    return found
