"""Aliases: a fused parameter that has the bits of its parts, under their names."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fastinit.model.tiles import Tile
from fastinit.recipe.entries import Entry
from fastinit.recipe.names import bound_by, filled_in
from fastinit.shard.geometry import Shape


@dataclass(frozen=True, slots=True)
class Fused:
    """A parameter that is made of others, one behind another along a dimension.

    >>> gate_up = Fused(("layers.*.w1", "layers.*.w3"))  # the rows of w1, then those of w3
    >>> qkv = Fused(("layers.*.wq", "layers.*.wk", "layers.*.wv"), groups=8)  # as Megatron has 8 key-value heads

    With ``groups`` each part is cut into so many, and the fused parameter has the first of each, then the second of each, and so
    on: the queries, the key and the value of a head next to each other.
    """

    parts: tuple[str, ...]
    dim: int = 0
    groups: int = 1


Aliases = Mapping[str, "Fused | tuple[str, ...]"]


def checked(aliases: Aliases) -> dict[str, Fused]:
    """The aliases, each in full. Raises ``TypeError`` for what is none, ``ValueError`` for a dimension or groups that cannot be."""
    if not isinstance(aliases, Mapping):
        raise TypeError(f"aliases: expected the parts of each fused parameter by its name, got {aliases!r}")
    found = {}
    for pattern, parts in aliases.items():
        fused = parts if isinstance(parts, Fused) else Fused(tuple(parts) if isinstance(parts, list | tuple) else ())
        if (
            not isinstance(pattern, str)
            or not isinstance(fused.parts, list | tuple)
            or len(fused.parts) < 2
            or not all(isinstance(part, str) for part in fused.parts)
        ):
            raise TypeError(f"aliases: expected two names of parts or more for {pattern!r}, got {parts!r}")
        for field, least in (("dim", 0), ("groups", 1)):
            value = getattr(fused, field)
            if type(value) is not int:
                raise TypeError(f"aliases: expected {field} of {pattern!r} to be an integer, got {value!r}")
            if value < least:
                raise ValueError(f"aliases: expected {field} >= {least} for {pattern!r}, got {value}")
        found[pattern] = fused
    return found


def parts_of(name: str, aliases: Mapping[str, Fused]) -> tuple[Fused, tuple[str, ...]] | None:
    """How a parameter is fused, and the names of its parts; None for one that is not."""
    for pattern, fused in aliases.items():
        stars = bound_by(pattern, name)
        if stars is not None:
            return fused, tuple(filled_in(part, stars) for part in fused.parts)
    return None


def fused_entry(name: str, shape: Shape, fused: Fused, parts: tuple[Entry, ...]) -> Entry:
    """What a fused parameter of that shape is filled with.

    Raises ``ValueError`` where the parts do not make up the shape, or are computed.
    """
    dim, sizes = fused.dim, [part.shape[fused.dim] if fused.dim < len(part.shape) else 0 for part in parts]
    rest = [(*part.shape[:dim], *part.shape[dim + 1 :]) for part in parts]
    if dim >= len(shape) or sum(sizes) != shape[dim] or {*rest} != {(*shape[:dim], *shape[dim + 1 :])}:
        shapes = ", ".join(f"{part.name} of {part.shape}" for part in parts)
        raise ValueError(f"aliases: expected parts that make up the shape {shape} along dimension {dim}, got {shapes}")
    uneven = [part.name for part, size in zip(parts, sizes, strict=True) if size % fused.groups]
    if uneven:
        raise ValueError(f"aliases: expected sizes that {fused.groups} groups divide, got {', '.join(uneven)}")
    tiles: list[Tile] = []
    start = 0
    for group in range(fused.groups):
        for part, size in zip(parts, sizes, strict=True):
            if not part.tiles:
                why = "computed" if part.computed is not None else "left as it is"
                raise ValueError(f"aliases: expected parts that follow laws, got {part.name}, which is {why}")
            rows = size // fused.groups
            tiles += _moved(part, dim, group * rows, rows, start)
            start += rows
    return Entry(name, (), shape, tuple(tiles))


def _moved(part: Entry, dim: int, first: int, rows: int, to: int) -> list[Tile]:
    """The tiles of some rows of a part, elsewhere."""
    return [
        replace(tile, offset=(*tile.offset[:dim], tile.offset[dim] + to, *tile.offset[dim + 1 :]))
        for tile in _cut(part, dim, first, rows)
    ]


def _cut(entry: Entry, dim: int, first: int, rows: int) -> list[Tile]:
    """The tiles of some rows of a parameter, as a tensor of their own."""
    offset = tuple(first if d == dim else 0 for d in range(len(entry.shape)))
    shape = tuple(rows if d == dim else n for d, n in enumerate(entry.shape))
    return [part for tile in entry.tiles if (part := tile.within(offset, shape)) is not None]
