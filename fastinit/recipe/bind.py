"""Binding: from what the tape has seen to what each parameter is filled with, and whose numbers it has.

Numbers that are drawn into a parameter, or that only pass through on their way to one, are the parameter's own: by its name, and by
the parameter's own index. Those that several parameters have a part in belong to the first that holds them as they are, or else to
the first that is computed from them. Numbers that only a computation sees have streams ``name``, ``name#1``, ``name#2`` and so on.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Hashable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from operator import add, mul, sub
from typing import Any, NamedTuple

from torch import Tensor

from fastinit.law.distributions import DISTRIBUTIONS
from fastinit.law.transformed import Constant, InverseSoftplusOfLogUniform, Law, LogOfUniform
from fastinit.model.tiles import Tile
from fastinit.recipe.boxes import Box, View, boxes_of, merged, visible
from fastinit.recipe.entries import Entry
from fastinit.recipe.lifting import law_of
from fastinit.recipe.pieces import Piece, pieces_of, reached_from
from fastinit.recipe.replay import Graph, Placed
from fastinit.recipe.storages import Storages
from fastinit.recipe.values import Drawn, Foreign, Leaf, Lost, Read, Same, Settled, Unwritten, Value
from fastinit.shard.geometry import LocalShard, Shape, coordinates, row_major_strides

_LAWS = (*DISTRIBUTIONS, LogOfUniform, InverseSoftplusOfLogUniform)


class Parameter(NamedTuple):
    """A parameter of the model: its names, its own first, and the tensor."""

    names: tuple[str, ...]
    tensor: Tensor


@dataclass(slots=True)
class Bound:
    """What came of it: entries, and the names of parameters that have none, with the reason."""

    entries: list[Entry] = field(default_factory=list)
    unwritten: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A parameter, and what is to be seen in its memory."""

    names: tuple[str, ...]
    shape: Shape
    read: Read
    pieces: list[Piece] | None  # None where they are no boxes
    laws: list[Law | None]  # of the pieces

    @property
    def is_lawful(self) -> bool:
        """Whether every element follows a law."""
        return self.pieces is not None and None not in self.laws

    def leaves(self) -> list[tuple[Leaf, Hashable]]:
        """The leaves that it has a part in, each with a mark of where."""
        if self.pieces is not None and self.is_lawful:
            return _marks([piece for piece in self.pieces if isinstance(piece.value, Drawn)])
        return [(leaf, "computed") for leaf in _leaves(self.read)]


def bind(
    parameters: Iterable[Parameter], storages: Storages, live: bool = False, elsewhere: Container[Leaf] = ()
) -> Bound:
    """What each parameter is filled with, in the order of the parameters, which is the model's.

    ``live``: what was done was done to these parameters, so that those without drawn numbers have their values. ``elsewhere``: what
    parameters of another model hold, whose name it would have.
    """
    parameters = list(parameters)
    first: dict[str, Parameter] = {}
    for parameter in parameters:
        if first.setdefault(parameter.names[0], parameter) is not parameter:
            raise ValueError(
                f"rename: expected a name of its own for each parameter, got {parameter.names[0]!r} for two"
            )
    bound = Bound()
    seen = []
    for names, tensor in parameters:
        state, view = storages.state_of(tensor)
        if state is None:
            bound.unwritten.append(names[0])
            continue
        pieces = pieces_of(state, view)
        found = _Seen(names, tuple(tensor.shape), Read(state, view), pieces, list(map(_law, pieces or ())))
        if state.dtype != tensor.dtype:
            bound.lost[names[0]] = "its bytes were written as another dtype"
        elif any(isinstance(piece.value, Unwritten) for piece in pieces or ()):
            bound.unwritten.append(names[0])
        elif pieces and all(isinstance(piece.value, Settled) for piece in pieces):
            seen.append(found)
        elif not found.is_lawful and (why := _why_lost(found, storages, live)) is not None:
            bound.lost[names[0]] = why
        elif any(leaf in elsewhere for leaf, _ in found.leaves()):
            bound.lost[names[0]] = "its numbers are those of a parameter that is not in the model, as in another stage"
        else:
            seen.append(found)
    binder = _Binder(seen)
    bound.entries = [binder.entry(found) for found in seen]
    bound.foreign = [
        entry.name
        for entry, found in zip(bound.entries, seen, strict=True)
        if entry.computed is not None and any(isinstance(value, Foreign) for value in reached_from(found.read))
    ]
    return bound


class _Binder:
    """Whose numbers each leaf has."""

    def __init__(self, seen: list[_Seen]) -> None:
        self.placed: dict[Leaf, Placed] = {}
        self._counts: Counter[str] = Counter()
        first: dict[Leaf, Hashable] = {}
        self._shared: set[Leaf] = set()
        for position, found in enumerate(seen):
            for leaf, mark in found.leaves():
                if first.setdefault(leaf, (position, mark)) != (position, mark):
                    self._shared.add(leaf)
        for found in seen:
            if found.is_lawful:
                self._hold(found)
        for found in seen:
            if not found.is_lawful:
                self._own(found)

    def entry(self, found: _Seen) -> Entry:
        """What a parameter is filled with."""
        if found.pieces and isinstance(found.pieces[0].value, Settled):
            return Entry(found.names[0], found.names[1:], found.shape, settled=True)
        tiles = self._tiles(found) if found.is_lawful else None
        if tiles is None:
            self._own(found)
            return Entry(found.names[0], found.names[1:], found.shape, computed=Graph(found.read, self.placed))
        return Entry(found.names[0], found.names[1:], found.shape, tiles=tiles)

    def _hold(self, found: _Seen) -> None:
        """The first that holds a shared leaf as it is gives it its name."""
        for piece in found.pieces or ():
            if isinstance(piece.value, Drawn) and piece.value.leaf in self._shared:
                leaf = piece.value.leaf
                if leaf not in self.placed:
                    self.placed[leaf] = _in_parameter(piece, found) or self._apart(leaf, found)

    def _own(self, found: _Seen) -> None:
        """Places for the leaves of a parameter that is computed, where nobody else has given them one."""
        for piece in found.pieces or ():
            if isinstance(piece.value, Drawn) and piece.value.leaf not in self.placed:
                place = _in_parameter(piece, found)
                if place is not None:
                    self.placed[piece.value.leaf] = place
                    self._counts[found.names[0]] = max(1, self._counts[found.names[0]])
        for leaf in _leaves(found.read):
            if leaf not in self.placed:
                self.placed[leaf] = self._apart(leaf, found)

    def _apart(self, leaf: Leaf, found: _Seen) -> Placed:
        """A stream of its own for a leaf."""
        name = found.names[0]
        if found.is_lawful:
            self._counts[name] = max(1, self._counts[name])  # its own boxes have the first
        number = self._counts[name]
        self._counts[name] += 1
        return Placed(f"{name}#{number}" if number else name, leaf.shape, View.dense(leaf.shape))

    def _tiles(self, found: _Seen) -> tuple[Tile, ...] | None:
        """The boxes of a parameter by law and source; None where a box of a shared leaf is no box of it."""
        if len(found.laws) == 1 and self._shared.isdisjoint(leaf for leaf, _ in found.leaves()):
            box, law = Box.whole(found.shape), found.laws[0]  # all of it, as of nearly every parameter
            return (Tile(*box, law, found.names[0], LocalShard(found.shape, box.offset)),)  # type: ignore[arg-type]
        coloured: list[tuple[Box, Any]] = []
        for piece, law in zip(found.pieces or (), found.laws, strict=True):
            box = piece.box
            source, shape, first = found.names[0], found.shape, box.offset
            if isinstance(piece.value, Drawn) and piece.value.leaf in self._shared:
                placed = self.placed[piece.value.leaf]
                lies = _in_source(piece, piece.value, placed)
                if lies is None:
                    return None
                source, shape, first = placed.stream, placed.shape, lies
            coloured.append((box, (law, source, shape, tuple(map(sub, first, box.offset)))))
        return tuple(
            Tile(*box, law, source, LocalShard(shape, tuple(map(add, box.offset, shift))))
            for box, (law, source, shape, shift) in sorted(merged(coloured), key=lambda part: part[0].offset)
        )


def _marks(pieces: list[Piece]) -> list[tuple[Leaf, Hashable]]:
    """The leaves of drawn pieces, each with a mark of the write; one mark where the writes have parts of it, each its own."""
    if len(pieces) == 1:
        return [(pieces[0].value.leaf, pieces[0].write)]  # type: ignore[union-attr]  # they are drawn
    parts: dict[Leaf, dict[Hashable, View]] = defaultdict(dict)
    for piece in pieces:
        if isinstance(piece.value, Drawn):
            parts[piece.value.leaf][piece.write] = piece.value.lies
    marks: list[tuple[Leaf, Hashable]] = []
    for leaf, views in parts.items():
        apart = len(views) > 1 and _apart(leaf, list(views.values()))
        marks += [(leaf, "parts" if apart else write) for write in views]
    return marks


def _apart(leaf: Leaf, views: list[View]) -> bool:
    """Whether views of a leaf have no element in common: then each of its numbers is in one place all the same."""
    boxes: list[Box] = []
    for view in views:
        found = boxes_of(view, View.dense(leaf.shape))
        if found is None:
            return False
        boxes += found
    seen = visible([(box, None) for box in boxes])
    return sum(box.numel for box, _ in seen) == sum(box.numel for box in boxes)


def _law(piece: Piece) -> Law | None:
    """What the elements of a piece follow."""
    if isinstance(piece.value, Same):
        return Constant(piece.value.value)
    law = law_of(piece.value.law) if isinstance(piece.value, Drawn) else None
    return law if isinstance(law, _LAWS) else None


def _leaves(read: Read) -> list[Leaf]:
    leaves = {value.leaf: None for value in reached_from(read) if isinstance(value, Drawn)}
    return sorted(leaves, key=lambda leaf: leaf.order)


def _why_lost(found: _Seen, storages: Storages, live: bool) -> str | None:
    """Why a parameter cannot be computed again; None where it can."""
    if (_leaves(found.read) or not live) and any(_is_changed(value, storages) for value in reached_from(found.read)):
        return "a tensor of elsewhere that it is computed from was written to since"
    for value in reached_from(found.read):
        if isinstance(value, Lost):
            return value.why
        if isinstance(value, Settled):
            return "a part of it, or of what it is computed from, was filled by fastinit with a key of its own"
        if isinstance(value, Unwritten):
            return "it is computed from memory that nothing wrote to"
    return None


def _is_changed(value: Value, storages: Storages) -> bool:
    """Whether a tensor of elsewhere is no longer what was read; the part below what was written to it is."""
    if isinstance(value, Foreign):
        state = storages.state_of(value.tensor)[0]
        return state is not None and state.base is not value
    if isinstance(value, Read) and isinstance(value.state.base, Foreign):
        return storages.state_of(value.state.base.tensor)[0] is not value.state
    return False


def _in_parameter(piece: Piece, found: _Seen) -> Placed | None:
    """The place of a whole leaf that lies in a parameter, as a box in its own order."""
    assert isinstance(piece.value, Drawn)
    leaf = piece.value.leaf
    if piece.within is None or piece.value.view is not None:
        return None
    sizes = [n for n in leaf.shape if n > 1]
    dims = [d for d, n in enumerate(piece.painted.shape) if n > 1]
    if sizes != [piece.painted.shape[d] for d in dims]:
        return None
    steps = row_major_strides(found.shape)
    long = iter(steps[d] for d in dims)
    strides = tuple(next(long) if n > 1 else 1 for n in leaf.shape)
    return Placed(found.names[0], found.shape, View(sum(map(mul, piece.painted.offset, steps)), leaf.shape, strides))


def _in_source(piece: Piece, drawn: Drawn, placed: Placed) -> Shape | None:
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
