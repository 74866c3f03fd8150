"""What a recipe says of one parameter."""

from dataclasses import dataclass, field

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
    foreign: bool = False  # it is computed from a tensor of elsewhere: loaded, NumPy's, or made before
    # What it was filled with before, in words: nothing of its values depends on that.
    earlier: tuple[str, ...] = field(default=(), compare=False)

    @property
    def kind(self) -> str:
        """One of "law", "constant", "laws by box", "shared", "derived" and "kept"."""
        if self.computed is not None:
            return "derived"
        if not self.tiles:
            return "kept"
        if any(source != self.name for source in self.sources):
            return "shared"
        if len(self.tiles) > 1:
            return "laws by box"
        return "constant" if isinstance(self.tiles[0].law, Constant) else "law"

    @property
    def note(self) -> str:
        """Words for the report: what ``whence`` says, and earlier fills."""
        words = [self.whence] if self.whence else []
        return "; ".join([*words, *([f"after {', then '.join(self.earlier)}"] if self.earlier else [])])

    @property
    def whence(self) -> str:
        """Where its numbers come from, where that is not its own name."""
        others = [source for source in self.sources if source != self.name]
        if self.computed is not None:
            sources = [*self.sources, *(["a tensor of elsewhere"] if self.foreign else [])]
            return f"derived from {', '.join(sources)}" if sources else "derived"
        return f"shares {', '.join(others)}'s values" if others else ""

    @property
    def sources(self) -> tuple[str, ...]:
        """The streams whose numbers it has."""
        if self.computed is not None:
            return self.computed.sources
        return tuple(dict.fromkeys(tile.source for tile in self.tiles if not isinstance(tile.law, Constant)))

    @property
    def content(self) -> object:
        """All that its values depend on: equal contents are equal values. What is constant has no source."""
        if self.computed is not None:
            return self.computed
        return tuple(
            (tile.offset, tile.shape, tile.law)
            if isinstance(tile.law, Constant)
            else (tile.offset, tile.shape, tile.law, tile.source, tile.shard)
            for tile in self.tiles
        )

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
