"""History: what a parameter was filled with before its last fill, in words. Its values are those of the last one."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from fastinit.model.report import law_text
from fastinit.recipe.expression import expression
from fastinit.recipe.pieces import pieces_of, reached_from, seen_writes
from fastinit.recipe.seen import law_of_piece, leaves_of
from fastinit.recipe.values import Read, State


def earlier_fills(overwritten: Sequence[State], last: Read) -> tuple[str, ...]:
    """The fills that nothing is to be seen of, the oldest first. Numbers that were worked on since are no fill of their own."""
    fills = [fill for state in (*overwritten, last.state) for fill in _fills(Read(state, last.view))]
    return tuple(_words(fill) for fill, later in pairwise(fills) if not _is_made_of(later, fill))


def _fills(read: Read) -> Iterator[Read]:
    """What is read, after those fills that it has hidden by parts."""
    if read.state.before is not None:
        seen = seen_writes(read)
        states = [read.state]
        while (before := states[-1].before) is not None:
            states.append(before)
        for number, state in enumerate(reversed(states), 1):
            if state.view == read.view and state is not read.state and number not in seen:
                yield Read(state, read.view)
    yield read


def _is_made_of(later: Read, fill: Read) -> bool:
    values = list(reached_from(later))
    return any(value is fill.state.value for value in values) or not set(leaves_of(later)).isdisjoint(leaves_of(fill))


def _words(fill: Read) -> str:
    pieces = pieces_of(fill.state, fill.view)
    laws = [law_of_piece(piece) for piece in pieces or ()]
    if not laws or None in laws:
        return expression(fill)
    return " and ".join(dict.fromkeys(map(law_text, laws)))
