"""Seen: what is to be seen in the memory of a parameter, and whether it can be made again."""

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

from fastinit.law.distributions import DISTRIBUTIONS
from fastinit.law.transformed import Constant, InverseSoftplusOfLogUniform, Law, LogOfUniform
from fastinit.recipe.boxes import Box, View, boxes_of, visible
from fastinit.recipe.intermediate import law_of
from fastinit.recipe.pieces import Piece, reached_from
from fastinit.recipe.storages import Storages
from fastinit.recipe.values import Drawn, Foreign, Leaf, Lost, Read, Same, Settled, Unwritten, Value
from fastinit.shard.geometry import Shape

_LAWS = (*DISTRIBUTIONS, LogOfUniform, InverseSoftplusOfLogUniform)


@dataclass(frozen=True, slots=True)
class Seen:
    """A parameter, its own name first, and what is to be seen in its memory."""

    names: tuple[str, ...]
    shape: Shape
    read: Read
    pieces: list[Piece] | None  # None where they are no boxes
    laws: list[Law | None]  # of the pieces
    earlier: tuple[str, ...]  # fills that nothing is to be seen of, in words

    @property
    def identity(self) -> tuple[str, tuple[str, ...], Shape]:
        """Its name, those that are tied to it, and its shape."""
        return self.names[0], self.names[1:], self.shape

    @property
    def is_lawful(self) -> bool:
        """Whether every element follows a law."""
        return self.pieces is not None and None not in self.laws

    def leaves(self) -> list[tuple[Leaf, Hashable]]:
        """The leaves that it has a part in, each with a mark of where."""
        if self.pieces is not None and self.is_lawful:
            return _marks([piece for piece in self.pieces if isinstance(piece.value, Drawn)])
        return [(leaf, "computed") for leaf in leaves_of(self.read)]


def law_of_piece(piece: Piece) -> Law | None:
    """What the elements of a piece follow."""
    if isinstance(piece.value, Same):
        return Constant(piece.value.value)
    law = law_of(piece.value.law) if isinstance(piece.value, Drawn) else None
    return law if isinstance(law, _LAWS) else None


def leaves_of(read: Read) -> list[Leaf]:
    """All that was drawn for it, in that order."""
    leaves = {value.leaf: None for value in reached_from(read) if isinstance(value, Drawn)}
    return sorted(leaves, key=lambda leaf: leaf.order)


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
        apart = len(views) > 1 and _disjoint(leaf, list(views.values()))
        marks += [(leaf, "parts" if apart else write) for write in views]
    return marks


def _disjoint(leaf: Leaf, views: list[View]) -> bool:
    """Whether views of a leaf have no element in common: then each of its numbers is in one place all the same."""
    boxes: list[Box] = []
    for view in views:
        found = boxes_of(view, View.dense(leaf.shape))
        if found is None:
            return False
        boxes += found
    seen = visible([(box, None) for box in boxes])
    return sum(box.numel for box, _ in seen) == sum(box.numel for box in boxes)


def why_lost(found: Seen, storages: Storages, live: bool) -> str | None:
    """Why a parameter cannot be computed again; None where it can."""
    if (leaves_of(found.read) or not live) and any(_is_changed(value, storages) for value in reached_from(found.read)):
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
