"""Comparison: the parameters of a plan with their regenerated values, bit by bit, many small ones at a time."""

from collections.abc import Hashable, Iterator, Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from fastinit.model.columns import columns, records
from fastinit.model.filling import fill_as_planned_
from fastinit.model.planned import Planned
from fastinit.model.report import Checked
from fastinit.model.tiles import Computed, Fixed
from fastinit.model.walk import Found
from fastinit.shard import dtensor
from fastinit.shard.bits import bits_of
from fastinit.shard.geometry import LocalShard, Shape
from fastinit.shard.kinds import Kind
from fastinit.shard.storage import PLAIN

_CHUNK = 2**20  # elements that are regenerated at a time


class Piece(NamedTuple):
    """A part of a parameter of no more than _CHUNK elements, and where it lies; None for all of a plain one."""

    number: int  # of the parameter in the plan
    values: Tensor
    place: LocalShard | None
    elements: int


class Comparison:
    """What is known so far of each parameter: its elements, how many of them differ, and the first of those."""

    def __init__(self, plan: Sequence[Planned]) -> None:
        self._plan = list(plan)
        self._elements = [0] * len(plan)
        self._differing = [0] * len(plan)
        self._first: dict[int, Shape] = {}

    def rows(self) -> tuple[Checked, ...]:
        """Compare all of the plan."""
        piles: dict[Hashable, list[Piece]] = {}
        sizes: dict[Hashable, int] = {}
        for piece in self._pieces():
            number, values, _, elements = piece
            self._elements[number] += elements
            if elements == _CHUNK or type(values) not in PLAIN or isinstance(self._plan[number].law, Fixed):
                self._compare([piece])
                continue
            like = values.dtype, values.device
            size = sizes.get(like, 0) + elements
            if size > _CHUNK:
                self._compare(piles.pop(like))
                size = elements
            piles.setdefault(like, []).append(piece)
            sizes[like] = size
        for pile in piles.values():
            self._compare(pile)
        names = [planned.name for planned in self._plan]
        first = map(self._first.get, range(len(names)))
        return tuple(records(Checked, names, self._elements, self._differing, first))

    def _pieces(self) -> Iterator[Piece]:
        small: dict[Kind | None, tuple[int, LocalShard | None] | None] = {None: None}
        for number, planned in enumerate(list(self._plan)):
            (found, _, shard), _, law, _ = planned
            if found.kind not in small:
                small[found.kind] = _small(found)
            alike = small[found.kind]
            if alike is not None and not isinstance(law, Computed):
                elements, place = alike
                if not elements:
                    continue
                local = found.parameter if place is None else dtensor.local_of(found.parameter)
                yield Piece(number, local.detach(), shard if place is None else place, elements)
                continue
            if isinstance(law, Computed):  # once for all of its pieces
                self._plan[number] = planned._replace(law=Fixed(law.value(planned.key.seed)))
            for view, box in planned.boxes():
                for part, place in _chunks(view.detach(), box):
                    yield Piece(number, part, place, part.numel())
            self._plan[number] = planned

    def _compare(self, pieces: Sequence[Piece]) -> None:
        """Regenerate some pieces of one dtype and device, and count where their bits are others."""
        numbers, values, places, sizes = columns(pieces, 4)
        expected = torch.empty(sum(sizes), dtype=values[0].dtype, device=values[0].device)
        parts = [part.view(like.shape) for part, like in zip(expected.split(sizes), values, strict=True)]
        fill_as_planned_([self._plan[number] for number in numbers], parts, places)
        if len(pieces) == 1:
            self._count(pieces[0], bits_of(parts[0]) != bits_of(values[0]))
            return
        differing = bits_of(expected) != bits_of(torch.cat([value.reshape(-1) for value in values]))
        if not differing.any():
            return
        for piece, mask in zip(pieces, differing.split(sizes), strict=True):
            self._count(piece, mask.view(piece.values.shape))

    def _count(self, piece: Piece, differing: Tensor) -> None:
        count = int(differing.sum())
        self._differing[piece.number] += count
        if count and piece.number not in self._first:
            index = tuple(differing.nonzero()[0].tolist())
            if piece.place is not None:
                index = tuple(o + i for o, i in zip(piece.place.global_offset, index, strict=True))
            self._first[piece.number] = index


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
