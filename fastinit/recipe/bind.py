"""Binding: from what the tape has seen to what each parameter is filled with, and whose numbers it has.

Numbers that are drawn into a parameter, or that only pass through on their way to one, are the parameter's own: by its name, and by
the parameter's own index. Those that several parameters have a part in belong to the first that holds them as they are, or else to
the first that is computed from them. Numbers that only a computation sees have streams ``name``, ``name#1``, ``name#2`` and so on.
"""

from collections import Counter
from collections.abc import Container, Hashable, Iterable
from dataclasses import dataclass, field
from operator import add, sub
from typing import Any, NamedTuple

from torch import Tensor

from fastinit.model.tiles import Tile
from fastinit.recipe.boxes import Box, View, merged
from fastinit.recipe.entries import Entry
from fastinit.recipe.graph import Graph
from fastinit.recipe.history import earlier_fills
from fastinit.recipe.pieces import pieces_of, reached_from
from fastinit.recipe.places import Placed, by_view, in_parameter, in_source
from fastinit.recipe.seen import Seen, law_of_piece, leaves_of, why_lost
from fastinit.recipe.storages import Storages
from fastinit.recipe.values import Drawn, Foreign, Leaf, Read, Settled, Unwritten, Value
from fastinit.shard.geometry import LocalShard


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
        read = Read(state, view)
        earlier = earlier_fills(storages.overwritten(tensor), read)
        found = Seen(names, tuple(tensor.shape), read, pieces, list(map(law_of_piece, pieces or ())), earlier)
        if state.dtype != tensor.dtype:
            bound.lost[names[0]] = "its bytes were written as another dtype"
        elif any(isinstance(piece.value, Unwritten) for piece in pieces or ()):
            bound.unwritten.append(names[0])
        elif pieces and all(isinstance(piece.value, Settled) for piece in pieces):
            seen.append(found)
        elif not found.is_lawful and (why := why_lost(found, storages, live)) is not None:
            bound.lost[names[0]] = why
        elif any(leaf in elsewhere for leaf, _ in found.leaves()):
            bound.lost[names[0]] = "its numbers are those of a parameter that is not in the model, as in another stage"
        else:
            seen.append(found)
    binder = _Binder(seen)
    bound.entries = [binder.entry(found) for found in seen]
    bound.foreign = [entry.name for entry in bound.entries if entry.foreign]
    return bound


class _Binder:
    """Whose numbers each leaf has."""

    def __init__(self, seen: list[Seen]) -> None:
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

    def entry(self, found: Seen) -> Entry:
        """What a parameter is filled with."""
        if found.pieces and isinstance(found.pieces[0].value, Settled):
            return Entry(*found.identity, settled=True)
        tiles = self._tiles(found) if found.is_lawful else None
        if tiles is None:
            self._own(found)
            foreign = any(isinstance(value, Foreign) for value in reached_from(found.read))
            computed = Graph(found.read, self.placed)
            return Entry(*found.identity, computed=computed, foreign=foreign, earlier=found.earlier)
        return Entry(*found.identity, tiles, earlier=found.earlier)

    def _hold(self, found: Seen) -> None:
        """The first that holds a shared leaf as it is gives it its name."""
        for piece in found.pieces or ():
            if isinstance(piece.value, Drawn) and piece.value.leaf in self._shared:
                leaf = piece.value.leaf
                if leaf not in self.placed:
                    self.placed[leaf] = in_parameter(piece, found.names[0], found.shape) or self._stream_of_its_own(
                        leaf, found
                    )

    def _own(self, found: Seen) -> None:
        """Places for the leaves of a parameter that is computed, where nobody else has given them one."""
        name, shape = found.names[0], found.shape
        places: list[tuple[Value, Placed | None]] = [
            (piece.value, in_parameter(piece, name, shape))
            for piece in found.pieces or ()
            if isinstance(piece.value, Drawn)
        ]
        if found.pieces is None:  # too many boxes: the numbers are the same as if they were few
            places = [
                (value, by_view(view, value, name, shape, found.read.view))
                for view, value in found.read.state.writes()
                if isinstance(value, Drawn)
            ]
        for value, place in places:
            if isinstance(value, Drawn) and place is not None and value.leaf not in self.placed:
                self.placed[value.leaf] = place
                self._counts[name] = max(1, self._counts[name])
        for leaf in leaves_of(found.read):
            if leaf not in self.placed:
                self.placed[leaf] = self._stream_of_its_own(leaf, found)

    def _stream_of_its_own(self, leaf: Leaf, found: Seen) -> Placed:
        """A stream of its own for a leaf."""
        name = found.names[0]
        if found.is_lawful:
            self._counts[name] = max(1, self._counts[name])  # its own boxes have the first
        number = self._counts[name]
        self._counts[name] += 1
        return Placed(f"{name}#{number}" if number else name, leaf.shape, View.dense(leaf.shape))

    def _tiles(self, found: Seen) -> tuple[Tile, ...] | None:
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
                lies = in_source(piece, piece.value, placed)
                if lies is None:
                    return None
                source, shape, first = placed.stream, placed.shape, lies
            coloured.append((box, (law, source, shape, tuple(map(sub, first, box.offset)))))
        return tuple(
            Tile(*box, law, source, LocalShard(shape, tuple(map(add, box.offset, shift))))
            for box, (law, source, shape, shift) in sorted(merged(coloured), key=lambda part: part[0].offset)
        )
