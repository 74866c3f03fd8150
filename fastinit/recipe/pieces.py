"""Pieces: a parameter taken apart into boxes, each with what it was last filled with."""

from collections.abc import Hashable, Iterator
from operator import add
from typing import NamedTuple

from fastinit.recipe.boxes import Box, Run, View, boxes_of, visible
from fastinit.recipe.values import Call, Read, State, Value, inputs_of
from fastinit.shard.geometry import overlaps, row_major_strides


class Piece(NamedTuple):
    """A box of a parameter, and the elements of a value that lie in it.

    ``within`` says which ones, in the same order, by the value's own row-major index; None where the order is another one, as in a
    transposed view: then each lies there once. ``painted`` is the whole box that the value was written to, and ``write`` tells
    writes apart: one that falls into several boxes puts each of its elements into one of them.
    """

    box: Box
    value: Value
    within: View | None
    painted: Box
    write: Hashable = 0


def pieces_of(state: State, tensor: View) -> list[Piece] | None:
    """What is to be seen of the writes to a tensor's storage; None where some view is no box, or few boxes, of it."""
    if state.view == tensor and all(tensor.strides) and not isinstance(state.value, Read):
        whole = Box.whole(tensor.shape)  # under which nothing else is to be seen; as nearly every parameter is
        return [Piece(whole, state.value, View.dense(tensor.shape), whole)]
    painted = _painted(state, tensor)
    if painted is None:
        return None
    seen = visible([(piece.box, number) for number, piece in enumerate(painted)])
    return [_cut(painted[number], box) for box, number in seen]


def _painted(state: State, tensor: View) -> list[Piece] | None:
    """A piece for each box that was written to, the oldest first."""
    if overlaps(tensor.shape, tensor.strides):
        return None
    whole = Box.whole(tensor.shape)
    painted = [Piece(whole, state.base, None, whole)]
    for write, (view, value) in enumerate(reversed(list(state.writes())), 1):
        boxes = boxes_of(view, tensor)
        if boxes is None:
            part = _beyond(view, tensor)
            if part is None:
                return None
            painted += [Piece(whole, value, within, whole, write) for within in part]
        elif len(boxes) == 1 and _in_order(view, boxes[0], tensor):
            (box,) = boxes
            nested = _nested(value, view, box)
            painted += [piece._replace(write=(write, piece.write)) for piece in nested]
            if not nested:
                painted.append(Piece(box, value, View.dense(box.shape), box, write))
        else:
            painted += [Piece(box, value, None, box, write) for box in boxes]
    return painted


def _nested(value: Value, view: View, box: Box) -> list[Piece]:
    """The pieces of a value that was put together of parts, moved to the box that it was written to."""
    inner = pieces_of(value.state, value.view) if isinstance(value, Read) else None
    moved = []
    for piece in inner or ():
        strides = row_major_strides(view.shape)
        first = sum(o * t for o, t in zip(piece.box.offset, strides, strict=True))
        found = boxes_of(View(first, piece.box.shape, strides), View.dense(box.shape))
        if found is None or len(found) != 1:
            return []
        here = Box(tuple(map(add, found[0].offset, box.offset)), found[0].shape)
        same = piece.box.shape == here.shape
        moved.append(Piece(here, piece.value, piece.within if same else None, here, piece.write))
    return moved


def _cut(piece: Piece, box: Box) -> Piece:
    """The part of a piece that lies in a box within its own."""
    if piece.within is None:
        return piece._replace(box=box)
    offset, _, strides = piece.within
    steps = zip(box.offset, piece.box.offset, strides, strict=True)
    return piece._replace(box=box, within=View(offset + sum((o - p) * t for o, p, t in steps), box.shape, strides))


def _beyond(view: View, tensor: View) -> list[View] | None:
    """Of a write that is no box of the tensor, the part that lies in it: all, nothing, or (None) some of it."""
    if view.end <= tensor.offset or tensor.end <= view.offset:
        return []
    if view.strides == row_major_strides(view.shape) and view.offset <= tensor.offset and tensor.end <= view.end:
        return [View(tensor.offset - view.offset, tensor.shape, tensor.strides)]
    return None


def _in_order(view: View, box: Box, tensor: View) -> bool:
    """Whether a view's row-major order is that of the box that it is."""
    return _long(view.shape, view.strides) == _long(box.shape, tensor.strides)


def _long(shape: tuple[int, ...], strides: tuple[int, ...]) -> list[Run]:
    """The dimensions as they follow each other, with those put together that are one in memory."""
    runs: list[Run] = []
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if runs and runs[-1][1] == size * stride:
            size *= runs.pop()[0]
        runs.append((size, stride))
    return runs


def seen_writes(read: Read) -> set[Hashable]:
    """Which writes, from 1 on for the oldest, something is to be seen of; 0 for what was there before them."""
    count = sum(1 for _ in read.state.writes())
    pieces = pieces_of(read.state, read.view.distinct())
    if pieces is None:
        return set(range(count + 1))
    if len(pieces) == 1 and pieces[0].value is read.state.value:
        return {count}
    return {piece.write[0] if isinstance(piece.write, tuple) else piece.write for piece in pieces}


def reached_from(*values: Value) -> Iterator[Value]:
    """The values and all that they are made from, each once; of what is read, what is to be seen there."""
    seen: set[int] = set()
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, Call):
            waiting += inputs_of(value)
        elif isinstance(value, Read):
            pieces = pieces_of(value.state, value.view.distinct())
            if pieces is None:
                waiting += [value.state.base, *(written for _, written in value.state.writes())]
            else:
                waiting += [piece.value for piece in pieces]
