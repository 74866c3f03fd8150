"""Comparison: the parameters of a plan with their regenerated values, bit by bit, many small ones at a time."""

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor

from fastinit.collector import paused
from fastinit.model.columns import records
from fastinit.model.filling import fill_as_planned_
from fastinit.model.planned import Planned
from fastinit.model.report import Checked
from fastinit.model.tiles import Computed, Fixed
from fastinit.model.walk import Found
from fastinit.shard import dtensor
from fastinit.shard.bits import bits_of
from fastinit.shard.geometry import LocalShard, Shape
from fastinit.shard.kinds import Kind, Seen

_CHUNK = 2**20  # elements that are regenerated at a time


class Pile(NamedTuple):
    """Parts of parameters, all of one shape, dtype and device, and where each lies; None for all of a plain one.

    They have no more than _CHUNK elements together, or are one part.
    """

    numbers: list[int]  # of the parameters in the plan
    values: list[Tensor]
    places: Sequence[LocalShard | None]


class Comparison:
    """What is known so far of each parameter: its elements, how many of them differ, and the first of those."""

    def __init__(self, plan: Sequence[Planned]) -> None:
        self._plan = list(plan)
        self._elements = [0] * len(plan)
        self._differing = [0] * len(plan)
        self._first: dict[int, Shape] = {}

    def rows(self) -> tuple[Checked, ...]:
        """Compare all of the plan."""
        for pile in self._piles():
            paused(partial(self._compare, pile))  # a few objects a part, and milliseconds a pile
        names = [planned.name for planned in self._plan]
        first = map(self._first.get, range(len(names)))
        return paused(lambda: tuple(records(Checked, names, self._elements, self._differing, first)))

    def _piles(self) -> Iterator[Pile]:
        small: dict[Kind | None, tuple[int, LocalShard | None] | None] = {None: None}
        alike: dict[Kind, list[int]] = {}
        for number, ((found, _, _), _, law, _) in enumerate(list(self._plan)):
            kind = found.kind
            if kind not in small:
                small[kind] = _small(found)
            if kind is None or small[kind] is None or isinstance(law, Computed):
                yield from self._alone(number)
            else:
                alike.setdefault(kind, []).append(number)
        for kind, numbers in alike.items():
            elements, place = small[kind] or (0, None)
            step = _CHUNK // max(1, elements)
            for some in (numbers[first : first + step] for first in range(0, len(numbers) if elements else 0, step)):
                parts = [self._plan[number].part for number in some]
                values = [part.found.parameter for part in parts]
                if place is not None:
                    values = list(map(dtensor.local_of, values))
                yield Pile(some, list(map(Tensor.detach, values)), [place or part.shard for part in parts])

    def _alone(self, number: int) -> Iterator[Pile]:
        """All parts of a parameter, one after another."""
        planned = self._plan[number]
        if isinstance(planned.law, Computed):  # once for all of its parts
            self._plan[number] = planned._replace(law=Fixed(planned.law.value(planned.key.seed)))
        for view, box in planned.boxes():
            for part, place in _chunks(view.detach(), box):
                yield Pile([number], [part], [place])
        self._plan[number] = planned

    def _compare(self, pile: Pile) -> None:
        """Regenerate the parts of a pile, and count where their bits are others."""
        numbers, values, places = pile
        elements = values[0].numel()
        expected = torch.empty((len(values), *values[0].shape), dtype=values[0].dtype, device=values[0].device)
        parts = expected.unbind()
        known = Seen([Kind.of(parts[0])] * len(parts), [], [])
        fill_as_planned_([self._plan[number] for number in numbers], parts, places, known)
        for number in numbers:
            self._elements[number] += elements
        found = torch.stack(values) if len(values) > 1 else values[0][None]
        differing = bits_of(expected) != bits_of(found)
        counts = differing.reshape(len(values), -1).sum(1).tolist()
        for number, count, mask, place in zip(numbers, counts, differing, places, strict=True) if any(counts) else ():
            self._differing[number] += count
            if count and number not in self._first:
                index = mask.nonzero()[0].tolist()
                offset = place.global_offset if place is not None else [0] * len(index)
                self._first[number] = tuple(map(add, offset, index))


def _small(found: Found) -> tuple[int, LocalShard | None] | None:
    """How many elements this rank has of a parameter and of all of its kind, and the box of a DTensor's.

    None where they are not one piece.
    """
    kind, parameter = found.kind, found.parameter
    if kind is None or prod(kind.local_shape) > _CHUNK:
        return None
    if kind.logical is None or 0 in kind.local_shape:
        return prod(kind.local_shape), None
    boxes = dtensor.boxes_of(parameter)
    return (prod(kind.local_shape), boxes[0].shard) if len(boxes) == 1 else None


def _chunks(view: Tensor, box: LocalShard) -> Iterator[tuple[Tensor, LocalShard]]:
    """Parts of a box, none of more than _CHUNK elements."""
    if view.numel() <= _CHUNK:
        yield view, box
        return
    dim = next(d for d, size in enumerate(view.shape) if size > 1)
    rows = max(1, _CHUNK // (view.numel() // view.shape[dim]))
    for start in range(0, view.shape[dim], rows):
        yield from _chunks(view.narrow(dim, start, min(rows, view.shape[dim] - start)), box.shifted(dim, start))
