"""An entry of a recipe as JSON has it."""

from dataclasses import fields
from math import inf, isnan, prod
from typing import Any

from fastinit.law.distributions import DISTRIBUTIONS
from fastinit.law.transformed import Constant, InverseSoftplusOfLogUniform, Law, LogOfUniform
from fastinit.model.tiles import Tile
from fastinit.recipe.boxes import Box, overlap
from fastinit.recipe.entries import Entry
from fastinit.shard.geometry import LocalShard, Shape

_LAWS = {law.__name__: law for law in (*DISTRIBUTIONS, Constant, LogOfUniform, InverseSoftplusOfLogUniform)}


def entry_json(entry: Entry) -> dict[str, Any]:
    """The entry. A tile of the parameter's own numbers needs no source; one that is all of it, no box."""
    return {
        "name": entry.name,
        **({"tied": entry.tied} if entry.tied else {}),
        "shape": entry.shape,
        "tiles": [_tile_json(tile, entry) for tile in entry.tiles],
        **({"earlier": entry.earlier} if entry.earlier else {}),
    }


def _tile_json(tile: Tile, entry: Entry) -> dict[str, Any]:
    law = {field.name: _number_json(getattr(tile.law, field.name)) for field in fields(tile.law)}
    found: dict[str, Any] = {"law": type(tile.law).__name__, **law}
    if tile.shape != entry.shape:
        found |= {"offset": tile.offset, "shape": tile.shape}
    if tile.source != entry.name or tile.shard != LocalShard(entry.shape, tile.offset):
        found |= {
            "source": tile.source,
            "source_shape": tile.shard.global_shape,
            "source_offset": tile.shard.global_offset,
        }
    if tile.dims:
        found["source_dims"] = tile.dims
    return found


def _number_json(number: float) -> float | str:
    """JSON has no infinite numbers."""
    return number if abs(number) < float("inf") else str(number)


def entry_from(row: dict[str, Any]) -> Entry:
    """The entry that entry_json() wrote. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for what it did not write."""
    name, shape = _text(row["name"]), _shape(row["shape"])
    tiles = tuple(_tile_from(dict(tile), name, shape) for tile in row["tiles"])
    boxes = [Box(tile.offset, tile.shape) for tile in tiles]
    if boxes and (sum(box.numel for box in boxes) != prod(shape) or overlap(boxes)):
        raise ValueError(f"expected tiles that are all of {name}")
    tied, earlier = (tuple(map(_text, row.get(key, ()))) for key in ("tied", "earlier"))
    return Entry(name, tied, shape, tiles, earlier=earlier)


def _tile_from(tile: dict[str, Any], name: str, shape: Shape) -> Tile:
    kind = _LAWS[tile["law"]]
    law: Law = kind(*(float(tile[field.name]) for field in fields(kind)))
    if not _can_be(law):
        raise ValueError(f"expected a law, got {law}")
    offset = _shape(tile.get("offset", (0,) * len(shape)))
    source = LocalShard(_shape(tile.get("source_shape", shape)), _shape(tile.get("source_offset", offset)))
    own, dims = _shape(tile.get("shape", shape)), _shape(tile.get("source_dims", ()))
    LocalShard(shape, offset).check_holds(own)
    _check_dims(dims, own, source)
    found = Tile(offset, own, law, _text(tile.get("source", name)), source, dims)
    source.check_holds(found.box)
    return found


def _check_dims(dims: Shape, shape: Shape, source: LocalShard) -> None:
    """Raise ``ValueError`` unless each dimension of a tile of more than one index lies along one of the source."""
    kept = [d for d in dims if d != -1]
    known = len(dims) == len(source.global_shape) and len(set(kept)) == len(kept) and {*kept} <= {*range(len(shape))}
    if dims and not (known and all(n == 1 for d, n in enumerate(shape) if d not in kept)):
        raise ValueError(f"expected a dimension of the tile for each of the source, got {list(dims)}")


def _can_be(law: Law) -> bool:
    """Whether there are such numbers; the distributions see to that themselves."""
    match law:
        case Constant(value):
            return not isnan(value)
        case LogOfUniform(a, b):
            return 0 <= a <= b < inf
        case InverseSoftplusOfLogUniform(low, high, floor):
            return 0 < low <= high < inf and 0 <= floor < inf
    return True


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a name, got {value!r}")
    return value


def _shape(value: Any) -> Shape:
    if not isinstance(value, list | tuple) or not all(type(n) is int for n in value):
        raise TypeError(f"expected whole numbers, got {value!r}")
    return tuple(value)
