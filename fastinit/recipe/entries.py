"""What a recipe says of one parameter."""

from dataclasses import dataclass

from fastinit.law.transformed import Constant
from fastinit.model.report import law_text
from fastinit.model.tiles import Computed, Tile
from fastinit.shard.geometry import Shape


@dataclass(frozen=True, slots=True)
class Entry:
    """A parameter's name, the names tied to it, its logical shape, and what it is filled with.

    Either ``tiles``, which are all of it, or what is ``computed``; neither for one that is left as it is.
    """

    name: str
    tied: tuple[str, ...]
    shape: Shape
    tiles: tuple[Tile, ...] = ()
    computed: Computed | None = None
    settled: bool = False  # fastinit has filled it with a key of its own

    @property
    def kind(self) -> str:
        """One of "law", "constant", "laws by box", "shared", "derived" and "kept"."""
        if self.computed is not None:
            return "derived"
        if not self.tiles:
            return "kept"
        if any(tile.source != self.name for tile in self.tiles if not isinstance(tile.law, Constant)):
            return "shared"
        if len(self.tiles) > 1:
            return "laws by box"
        return "constant" if isinstance(self.tiles[0].law, Constant) else "law"

    @property
    def note(self) -> str:
        """A word for the report on where its numbers come from, where that is not its own name."""
        if self.computed is not None:
            return f"derived from {', '.join(self.computed.sources)}" if self.computed.sources else "derived"
        others = dict.fromkeys(tile.source for tile in self.tiles if not isinstance(tile.law, Constant))
        others.pop(self.name, None)
        return f"shares {', '.join(others)}'s values" if others else ""

    def text(self) -> str:
        """What it is filled with, for people: each law with the rows, or the box, that it is for."""
        if self.computed is not None:
            return str(self.computed)
        if len(self.tiles) == 1:
            return law_text(self.tiles[0].law)
        return ", ".join(f"{_box_text(tile, self.shape)} {law_text(tile.law)}" for tile in self.tiles) or "kept"


def whole(name: str, shape: Shape, tile: Tile) -> bool:
    """Whether a tile is all of a parameter, and its own."""
    place = tile.shard
    alike = tile.shape == shape == place.global_shape and not any(place.global_offset)
    return alike and tile.source == name and not tile.dims


def _box_text(tile: Tile, shape: Shape) -> str:
    """The box as it is indexed.

    >>> _box_text(Tile((1, 0), (9, 8), Constant(0.0), "w", LocalShard((10, 8), (1, 0))), (10, 8))
    '[1:10]'
    """
    ranges = [":" if n == size else f"{o}:{o + n}" for o, n, size in zip(tile.offset, tile.shape, shape, strict=True)]
    while len(ranges) > 1 and ranges[-1] == ":":
        ranges.pop()
    return f"[{', '.join(ranges)}]"
