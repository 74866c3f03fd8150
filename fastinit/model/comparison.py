"""Comparison: the parameters of a plan with their regenerated values, bit by bit, many small ones at a time."""

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fastinit.model.filling import fill_as_planned_
from fastinit.model.planned import Planned
from fastinit.model.report import Checked
from fastinit.shard.bits import bits_of
from fastinit.shard.geometry import LocalShard, Shape
from fastinit.shard.storage import PLAIN

_CHUNK = 2**20  # elements that are regenerated at a time


class Piece(NamedTuple):
    """A part of a parameter of no more than _CHUNK elements, and where it lies; None for all of a plain one."""

    number: int  # of the parameter in the plan
    values: Tensor
    place: LocalShard | None


class Comparison:
    """What is known so far of each parameter: its elements, how many of them differ, and the first of those."""

    def __init__(self, plan: Sequence[Planned]) -> None:
        self._plan = plan
        self._elements = [0] * len(plan)
        self._differing = [0] * len(plan)
        self._first: dict[int, Shape] = {}

    def rows(self) -> tuple[Checked, ...]:
        """Compare all of the plan."""
        piles: dict[Hashable, list[Piece]] = {}
        sizes: dict[Hashable, int] = {}
        for piece in self._pieces():
            values = piece.values
            self._elements[piece.number] += values.numel()
            if type(values) not in PLAIN or values.numel() == _CHUNK:
                self._compare([piece])
                continue
            like = values.dtype, values.device
            size = sizes.get(like, 0) + values.numel()
            if size > _CHUNK:
                self._compare(piles.pop(like))
                size = values.numel()
            piles.setdefault(like, []).append(piece)
            sizes[like] = size
        for pile in piles.values():
            self._compare(pile)
        found = zip(self._plan, self._elements, self._differing, strict=True)
        return tuple(
            Checked(planned.name, elements, differing, self._first.get(number))
            for number, (planned, elements, differing) in enumerate(found)
        )

    def _pieces(self) -> Iterator[Piece]:
        for number, planned in enumerate(self._plan):
            parameter = planned.parameter
            if type(parameter) in PLAIN and parameter.numel() <= _CHUNK:
                yield Piece(number, parameter.detach(), planned.shard)
                continue
            for view, box in planned.boxes():
                for part, place in _chunks(view.detach(), box):
                    yield Piece(number, part, place)

    def _compare(self, pieces: Sequence[Piece]) -> None:
        """Regenerate some pieces of one dtype and device, and count where their bits are others."""
        sizes = [piece.values.numel() for piece in pieces]
        first = pieces[0].values
        expected = torch.empty(sum(sizes), dtype=first.dtype, device=first.device)
        parts = [part.view(piece.values.shape) for part, piece in zip(expected.split(sizes), pieces, strict=True)]
        fill_as_planned_([self._plan[piece.number] for piece in pieces], parts, [piece.place for piece in pieces])
        if len(pieces) == 1:
            self._count(pieces[0], bits_of(parts[0]) != bits_of(first))
            return
        differing = bits_of(expected) != torch.cat([bits_of(piece.values).reshape(-1) for piece in pieces])
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


def _chunks(view: Tensor, box: LocalShard) -> Iterator[tuple[Tensor, LocalShard]]:
    """Parts of a box, none of more than _CHUNK elements."""
    if view.numel() <= _CHUNK:
        yield view, box
        return
    dim = next(d for d, size in enumerate(view.shape) if size > 1)
    rows = max(1, _CHUNK // (view.numel() // view.shape[dim]))
    for start in range(0, view.shape[dim], rows):
        yield from _chunks(view.narrow(dim, start, min(rows, view.shape[dim] - start)), box.shifted(dim, start))
