"""Comparison: the parameters of a plan with their regenerated values, bit by bit, many small ones at a time."""

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fastinit.model.filling import fill_as_planned_
from fastinit.model.planned import Planned
from fastinit.model.report import Checked
from fastinit.model.tiles import Computed, Fixed
from fastinit.shard.bits import bits_of
from fastinit.shard.geometry import LocalShard, Shape
from fastinit.shard.storage import PLAIN

_CHUNK = 2**20  # elements that are regenerated at a time


class Chunk(NamedTuple):
    """A part of a parameter of no more than _CHUNK elements, and where it lies; None for all of a plain one."""

    number: int  # of the parameter in the plan
    values: Tensor
    place: LocalShard | None


class Comparison:
    """What is known so far of each parameter: its elements, how many of them differ, and the first of those."""

    def __init__(self, plan: Sequence[Planned]) -> None:
        self._plan = list(plan)
        self._elements = [0] * len(plan)
        self._differing = [0] * len(plan)
        self._first: dict[int, Shape] = {}

    def rows(self) -> tuple[Checked, ...]:
        """Compare all of the plan."""
        piles: dict[Hashable, list[Chunk]] = {}
        sizes: dict[Hashable, int] = {}
        for chunk in self._cut():
            values = chunk.values
            self._elements[chunk.number] += values.numel()
            alone = isinstance(self._plan[chunk.number].law, Fixed)
            if alone or type(values) not in PLAIN or values.numel() == _CHUNK:
                self._compare([chunk])
                continue
            like = values.dtype, values.device
            size = sizes.get(like, 0) + values.numel()
            if size > _CHUNK:
                self._compare(piles.pop(like))
                size = values.numel()
            piles.setdefault(like, []).append(chunk)
            sizes[like] = size
        for pile in piles.values():
            self._compare(pile)
        found = zip(self._plan, self._elements, self._differing, strict=True)
        return tuple(
            Checked(planned.name, elements, differing, self._first.get(number))
            for number, (planned, elements, differing) in enumerate(found)
        )

    def _cut(self) -> Iterator[Chunk]:
        for number, planned in enumerate(list(self._plan)):
            parameter, law = planned.parameter, planned.law
            if type(parameter) in PLAIN and parameter.numel() <= _CHUNK:
                yield Chunk(number, parameter.detach(), planned.shard)
                continue
            if isinstance(law, Computed):  # once for all of its chunks
                self._plan[number] = planned._replace(law=Fixed(law.value(planned.key.seed)))
            for view, box in planned.boxes():
                for part, place in _chunks(view.detach(), box):
                    yield Chunk(number, part, place)
            self._plan[number] = planned

    def _compare(self, chunks: Sequence[Chunk]) -> None:
        """Regenerate some chunks of one dtype and device, and count where their bits are others."""
        sizes = [chunk.values.numel() for chunk in chunks]
        first = chunks[0].values
        expected = torch.empty(sum(sizes), dtype=first.dtype, device=first.device)
        parts = [part.view(chunk.values.shape) for part, chunk in zip(expected.split(sizes), chunks, strict=True)]
        fill_as_planned_([self._plan[chunk.number] for chunk in chunks], parts, [chunk.place for chunk in chunks])
        if len(chunks) == 1:
            self._count(chunks[0], bits_of(parts[0]) != bits_of(first))
            return
        differing = bits_of(expected) != torch.cat([bits_of(chunk.values).reshape(-1) for chunk in chunks])
        if not differing.any():
            return
        for chunk, mask in zip(chunks, differing.split(sizes), strict=True):
            self._count(chunk, mask.view(chunk.values.shape))

    def _count(self, chunk: Chunk, differing: Tensor) -> None:
        count = int(differing.sum())
        self._differing[chunk.number] += count
        if count and chunk.number not in self._first:
            index = tuple(differing.nonzero()[0].tolist())
            if chunk.place is not None:
                index = tuple(o + i for o, i in zip(chunk.place.global_offset, index, strict=True))
            self._first[chunk.number] = index


def _chunks(view: Tensor, box: LocalShard) -> Iterator[tuple[Tensor, LocalShard]]:
    """Parts of a box, none of more than _CHUNK elements."""
    if view.numel() <= _CHUNK:
        yield view, box
        return
    dim = next(d for d, size in enumerate(view.shape) if size > 1)
    rows = max(1, _CHUNK // (view.numel() // view.shape[dim]))
    for start in range(0, view.shape[dim], rows):
        yield from _chunks(view.narrow(dim, start, min(rows, view.shape[dim] - start)), box.shifted(dim, start))
