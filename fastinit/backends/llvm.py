"""llvm backend: the CPU's. Functions compiled for this processor, divided among as many threads as torch would use."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastinit.backends.llvm_compile import Compiled, compiled, host
from fastinit.backends.llvm_laws import packed
from fastinit.backends.llvm_loops import MEMORY, ROW, Kind, tiles
from fastinit.backends.threads import run
from fastinit.fill import Fill, Fills
from fastinit.law.distributions import Distribution
from fastinit.law.lowered import Regime
from fastinit.law.lowering import lower
from fastinit.shard.axes import Axis, merge_axes
from fastinit.shard.geometry import LocalShard, Shape, row_major_strides
from fastinit.stream import Key

ELEMENTS_A_THREAD = 2**15  # below twice this, handing work over costs more than it saves
PIECE = 2**20  # elements that a thread fills at a time, of many: about 1 ms
_ROW = Struct("=10q3Q")  # a ROW

Place = tuple[int, int]  # a row of a table, and a tile of its box


class Boxes(NamedTuple):
    """A tensor without its place in memory and its key: ROWs, and whether the lanes that fill them are rows."""

    rows: Any
    lanes_are_rows: bool


class Job(NamedTuple):
    """The rows ``range(begin, end)`` of a table, which one compiled function fills."""

    begin: int
    end: int
    function: Compiled
    law: bytes


def fill_(tensor: Tensor, fill: Fill) -> None:
    """Fill a tensor of any strides."""
    bound(tuple(tensor.shape), tensor.stride(), tensor.dtype, fill.shard, fill.distribution)(tensor, fill.key)


def bound(
    shape: Shape, strides: Shape, dtype: torch.dtype, shard: LocalShard, law: Distribution
) -> Callable[[Tensor, Key], None]:
    """A fill of any tensor of this shape, these strides and this dtype, with any key."""
    name, total = str(dtype).removeprefix("torch."), prod(shape)
    boxes = _boxes(shape, strides, name, shard.global_shape)
    rows = boxes.rows.copy()
    rows["first_index"] += np.uint64(shard.first_index)
    job = _job(0, len(rows), law, name, boxes.lanes_are_rows)

    def fill(tensor: Tensor, key: Key) -> None:
        table = rows.copy()
        table["address"] += tensor.data_ptr()
        table["seed"], table["stream"] = key.seed, key.stream
        _run(table, [job], total, (tensor,))

    if len(rows) != 1 or total >= 2 * ELEMENTS_A_THREAD:
        return fill
    write, numbers = job.function.fill, job.law
    _, *sizes_and_steps, first_index, _, _ = _ROW.unpack(rows.tobytes())

    def fill_small(tensor: Tensor, key: Key) -> None:
        # A table of its own for each call, so that threads share nothing.
        table = _ROW.pack(tensor.data_ptr(), *sizes_and_steps, first_index, key.seed, key.stream)
        write(table, numbers, 0, 0, 1, 0)

    return fill_small


def fill_many_(tensors: Sequence[Tensor], fills: Fills) -> None:
    """Fill all tensors of a list in one pass over the threads."""
    boxes = [_boxes(*place) for place in fills.places]
    table, tensor = fills.rows([box.rows for box in boxes])
    table["address"] += np.array([t.data_ptr() for t in tensors])[tensor]
    # Sorted by law, dtype and what lanes are: there is a function for each.
    places = [(place.dtype, box.lanes_are_rows) for place, box in zip(fills.places, boxes, strict=True)]
    kinds = list(dict.fromkeys(places))
    kind = np.array([kinds.index(place) for place in places])[fills.place]
    code = (fills.distribution * len(kinds) + kind)[tensor]
    table = table[np.argsort(code, kind="stable")]
    jobs, begin = [], 0
    for number, count in zip(*np.unique(code, return_counts=True), strict=True):
        end = begin + int(count)
        jobs.append(_job(begin, end, fills.distributions[number // len(kinds)], *kinds[number % len(kinds)]))
        begin = end
    _run(table, jobs, int(table["sizes"].prod(1).sum()), tensors)


@lru_cache(maxsize=4096)
def _boxes(shape: Shape, strides: Shape, dtype: str, global_shape: Shape) -> Boxes:
    """The dimensions of a tensor merge into three loops or fewer, or else several boxes are.

    The address is in bytes from the tensor's first element, the first index counts from that element's.
    """
    axes = merge_axes(shape, strides, row_major_strides(global_shape))
    outer, inner = axes[:-3], [Axis(1, 0, 0)] * (3 - len(axes)) + axes[-3:]
    rows, columns = inner[1:]
    groups = host().groups
    # Lanes are rows where these take half of them or more, and memory runs along them, or columns would take too few.
    along_rows = columns.stride != 1 and rows.stride < columns.stride
    lanes_are_rows = 2 * rows.size >= groups and (along_rows or columns.size < 3 * groups)
    turns = list(product(*(range(axis.size) for axis in outer))) if 0 not in shape else []
    boxes = np.zeros(len(turns), ROW)
    boxes["sizes"], boxes["strides"], boxes["global_strides"] = zip(*inner, strict=True)
    for box, turn in zip(boxes, turns, strict=True):
        offset = sum(k * axis.stride for k, axis in zip(turn, outer, strict=True))
        box["address"] = offset * MEMORY[dtype].bits // 8
        box["first_index"] = sum(k * axis.global_stride for k, axis in zip(turn, outer, strict=True))
    return Boxes(boxes, lanes_are_rows)


def _job(begin: int, end: int, law: Distribution, dtype: str, lanes_are_rows: bool) -> Job:
    regime, coefficients, numbers = _law(law, dtype)
    return Job(begin, end, compiled(Kind(regime, coefficients, dtype, lanes_are_rows), host()), numbers)


@lru_cache(maxsize=4096)
def _law(law: Distribution, dtype: str) -> tuple[Regime, int, bytes]:
    """The regime, how many coefficients there are, and all numbers as functions read them."""
    lowered = lower(law)
    return lowered.regime, len(lowered.coefficients), packed(lowered, dtype)


def _run(table: Any, jobs: list[Job], total: int, tensors: Sequence[Tensor]) -> None:
    """Fill the table's boxes, of ``total`` elements, in pieces of about as many elements: consecutive tiles of the boxes.

    The table holds addresses, so whoever works at it holds the tensors.
    """
    threads = max(1, min(torch.get_num_threads(), total // ELEMENTS_A_THREAD))
    # As many pieces for each thread, none of which takes long: an interrupt arrives between two.
    pieces = threads * -(-total // (threads * PIECE))
    address = table.ctypes.data

    def part(begin: Place, end: Place, _: Any = (table, tensors)) -> None:
        for job in jobs:
            first, last = max(begin, (job.begin, 0)), min(end, (job.end, 0))
            if first < last:
                job.function.fill(address, job.law, *first, *last)

    if pieces == 1:
        part((0, 0), (len(table), 0))
        return
    place = _places(table, jobs, total, pieces)
    run(lambda piece: part(place(piece), place(piece + 1)), pieces, threads)


def _places(table: Any, jobs: list[Job], total: int, pieces: int) -> Callable[[int], Place]:
    """Where each piece begins."""
    sizes = table["sizes"]
    height, width = np.repeat([job.function.tile for job in jobs], [job.end - job.begin for job in jobs], axis=0).T
    down, across = tiles(sizes[:, 1], sizes[:, 2], height, width)
    counts = sizes[:, 0] * down * across
    elements = np.cumsum(sizes.prod(1))

    def place(piece: int) -> Place:
        before = total * piece // pieces
        if before == total:
            return len(table), 0
        row = int(np.searchsorted(elements, before, side="right"))
        size = int(sizes[row].prod())
        return row, int(counts[row]) * (before - int(elements[row]) + size) // size

    return place
