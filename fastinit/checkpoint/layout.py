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
from fastinit.recipe.boxes import Box
from fastinit.recipe.entries import Entry
from fastinit.shard.geometry import LocalShard, Shape

NO_LAW = Constant(0.0)  # of what is a place alone


class Cut(NamedTuple):
    """A box of a tensor, and the box of a live parameter that it is; ``dims`` as in a tile."""

    box: Box
    source: str
    shard: LocalShard
    dims: Shape = ()

    @property
    def tile(self) -> Tile:
        """The same as a tile, whose law says nothing."""
        return Tile(*self.box, NO_LAW, self.source, self.shard, self.dims)


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
    return Entry(name, (), laid.shape, computed=Cuts(laid, tuple(computed)))


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
class Cuts(Computed):
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
