"""Rows of many parameters from columns, and back, in less time than a call for each takes."""

from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any, TypeVar

_Record = TypeVar("_Record", bound=tuple[Any, ...])


def records(kind: type[_Record], *columns: Iterable[Any]) -> list[_Record]:
    """A NamedTuple a row, from a column for each of its fields. Its own ``__new__`` is a function of Python.

    >>> from typing import NamedTuple
    >>> Point = NamedTuple("Point", [("x", int), ("y", int)])
    >>> records(Point, [1, 2], [3, 4])
    [Point(x=1, y=3), Point(x=2, y=4)]
    """
    assert len(columns) == len(kind._fields)  # type: ignore[attr-defined]  # typing has no name for all NamedTuples
    return list(map(tuple.__new__, repeat(kind), zip(*columns, strict=True)))


def columns(rows: Sequence[Sequence[Any]], count: int) -> list[list[Any]]:
    """The first columns of some rows. ``zip(*rows)`` makes an iterator a row.

    >>> columns([(1, 3), (2, 4)], 2)
    [[1, 2], [3, 4]]
    """
    return [list(map(itemgetter(column), rows)) for column in range(count)]
