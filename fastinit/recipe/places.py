"""Places: where the numbers of a leaf lie in a logical tensor that has a stream, and where a piece of them does."""

from dataclasses import dataclass
from itertools import pairwise
from operator import mul

from fastinit.recipe.boxes import View, boxes_of
from fastinit.recipe.pieces import Piece
from fastinit.recipe.values import Drawn
from fastinit.shard.geometry import Shape, coordinates, overlaps, row_major_strides


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the numbers of a leaf come from: a view of a logical tensor that has a stream."""

    stream: str
    shape: Shape
    view: View


def in_parameter(piece: Piece, name: str, shape: Shape) -> Placed | None:
    """The place of a whole leaf that lies in a parameter, as a box in its own order."""
    assert isinstance(piece.value, Drawn)
    leaf = piece.value.leaf
    if piece.within is None or piece.value.view is not None:
        return None
    sizes = [n for n in leaf.shape if n > 1]
    dims = [d for d, n in enumerate(piece.painted.shape) if n > 1]
    if sizes != [piece.painted.shape[d] for d in dims]:
        return None
    steps = row_major_strides(shape)
    long = iter(steps[d] for d in dims)
    strides = tuple(next(long) if n > 1 else 1 for n in leaf.shape)
    return Placed(name, shape, View(sum(map(mul, piece.painted.offset, steps)), leaf.shape, strides))


def by_view(written: View, drawn: Drawn, name: str, shape: Shape, lies: View) -> Placed | None:
    """The place of a leaf that was drawn into a view of a parameter, of whatever strides, where that ``lies`` row by row."""
    first = written.offset - lies.offset
    view = View(first, written.shape, written.strides)
    inside = first >= 0 and view.end <= lies.numel and not overlaps(written.shape, written.strides)
    if drawn.view is not None or drawn.leaf.shape != written.shape or lies.strides != row_major_strides(shape):
        return None
    return Placed(name, shape, view) if inside else None


def in_source(piece: Piece, drawn: Drawn, placed: Placed) -> Shape | None:
    """Where a piece of a shared leaf begins in the source; None where it is no box of the same shape there."""
    if piece.within is None or not all(map(_descends, (piece.within, drawn.lies, placed.view))):
        return None
    lies, shape = piece.within, drawn.lies.shape
    for view in (drawn.lies, placed.view):
        boxes = boxes_of(lies, View.dense(shape))
        if boxes is None or len(boxes) != 1:
            return None
        (box,) = boxes
        lies = View(view.offset + sum(map(mul, box.offset, view.strides)), box.shape, view.strides)
        shape = drawn.leaf.shape if view is drawn.lies else placed.shape
    boxes = boxes_of(lies, View.dense(placed.shape))
    if boxes is None or len(boxes) != 1 or boxes[0].shape != piece.box.shape:
        return None
    steps = zip(lies.shape, lies.strides, row_major_strides(placed.shape), strict=True)
    return coordinates(lies.offset, placed.shape) if all(n == 1 or t == step for n, t, step in steps) else None


def _descends(view: View) -> bool:
    """Whether its elements lie in row-major order."""
    strides = [t for n, t in zip(view.shape, view.strides, strict=True) if n > 1]
    return all(outer > inner for outer, inner in pairwise(strides))
