"""numba backend: the CPU's. Compiled loops over tiles, divided among as many threads as torch would use."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastinit.backends import numba_loops as loops
from fastinit.backends.numba_fill import ROW, TILE_GROUPS, fill_table
from fastinit.backends.threads import run
from fastinit.fill import Fill, Fills
from fastinit.law.distributions import Distribution
from fastinit.law.lowered import Clamp, Lowered, Regime
from fastinit.law.lowering import lower
from fastinit.shard.axes import Axis, merge_axes
from fastinit.shard.geometry import Shape, row_major_strides

WIDTH = TILE_GROUPS * 4
TRANSPOSED_ROWS = 16  # of a tile, where memory runs along the rows: 64 bytes of fp32
ELEMENTS_A_THREAD = 2**15  # below twice this, handing work over costs more than it saves
PIECE = 2**20  # elements that a thread fills at a time, of many: about 2 ms
# As which numbers the loops see memory: bf16 and fp16 are rounded with integers, and told apart by the sign.
_MEMORY = {"float32": np.float32, "float64": np.float64, "bfloat16": np.int16, "float16": np.uint16}
_LAWS: dict[Regime, Any] = {
    Regime.CONSTANT: loops.Constant,
    Regime.UNIFORM: loops.Uniform,
    Regime.CENTRAL: loops.Central,
    Regime.WIDE: loops.Wide,
    Regime.SKEW: loops.Skew,
    Regime.FAR: loops.Far,
    Regime.NARROW: loops.Narrow,
}

Place = tuple[int, int]  # a row of a table, and a tile of its box


class Job(NamedTuple):
    """The rows ``range(begin, end)`` of a table, which one compiled loop runs."""

    begin: int
    end: int
    element: Any  # as which numbers the loop sees memory
    law: tuple[Any, ...]


def fill_(tensor: Tensor, fill: Fill) -> None:
    """Fill a tensor of any strides."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    table = _boxes(tuple(tensor.shape), tensor.stride(), dtype, fill.shard.global_shape).copy()
    table["address"] += tensor.data_ptr()
    table["first_index"] += np.uint64(fill.shard.first_index)
    table["seed"], table["stream"] = fill.key.seed, fill.key.stream
    _run(table, [Job(0, len(table), _MEMORY[dtype], _law(fill.distribution, dtype))], tensor.numel(), (tensor,))


def fill_many_(tensors: Sequence[Tensor], fills: Fills) -> None:
    """Fill all tensors of a list in one pass over the threads."""
    table, tensor = fills.rows([_boxes(*place) for place in fills.places])
    table["address"] += np.array([t.data_ptr() for t in tensors])[tensor]
    # Sorted by law and dtype: there is a loop for each.
    dtypes = list(_MEMORY)
    dtype = np.array([dtypes.index(place.dtype) for place in fills.places])[fills.place]
    kind = (fills.distribution * len(dtypes) + dtype)[tensor]
    table = table[np.argsort(kind, kind="stable")]
    jobs, begin = [], 0
    for code, count in zip(*np.unique(kind, return_counts=True), strict=True):
        law, name = fills.distributions[code // len(dtypes)], dtypes[code % len(dtypes)]
        jobs.append(Job(begin, begin + int(count), _MEMORY[name], _law(law, name)))
        begin += int(count)
    _run(table, jobs, int(table["sizes"].prod(1).sum()), tensors)


@lru_cache(maxsize=4096)
def _boxes(shape: Shape, strides: Shape, dtype: str, global_shape: Shape) -> Any:
    """A tensor as ROWs without a key; its dimensions merge into three loops or fewer, or else several boxes are.

    The address is in bytes from the tensor's first element, the first index counts from that element's.
    """
    axes = merge_axes(shape, strides, row_major_strides(global_shape))
    outer, inner = axes[:-3], [Axis(1, 0, 0)] * (3 - len(axes)) + axes[-3:]
    columns = inner[2]
    transposed = columns.stride != 1 and inner[1].size > 1 and inner[1].stride < columns.stride
    turns = list(product(*(range(axis.size) for axis in outer))) if 0 not in shape else []
    boxes = np.zeros(len(turns), ROW)
    boxes["sizes"], boxes["strides"], boxes["global_strides"] = zip(*inner, strict=True)
    boxes["height"] = TRANSPOSED_ROWS if transposed else 1
    for box, turn in zip(boxes, turns, strict=True):
        box["address"] = (
            sum(k * axis.stride for k, axis in zip(turn, outer, strict=True)) * np.dtype(_MEMORY[dtype]).itemsize
        )
        box["first_index"] = sum(k * axis.global_stride for k, axis in zip(turn, outer, strict=True))
    return boxes


def _run(table: Any, jobs: list[Job], total: int, tensors: Sequence[Tensor]) -> None:
    """Fill the table's boxes, of ``total`` elements, in pieces of about as many elements: consecutive tiles of the boxes.

    The table holds addresses, so whoever works at it holds the tensors.
    """
    threads = max(1, min(torch.get_num_threads(), total // ELEMENTS_A_THREAD))
    # As many pieces for each thread, none of which takes long: an interrupt arrives between two.
    pieces = threads * -(-total // (threads * PIECE))

    def part(begin: Place, end: Place, _: Sequence[Tensor] = tensors) -> None:
        for job in jobs:
            first, last = max(begin, (job.begin, 0)), min(end, (job.end, 0))
            if first < last:
                buffer = np.empty((TRANSPOSED_ROWS, WIDTH), job.element)
                fill_table(table, first, last, buffer, *job.law)

    if pieces == 1:
        part((0, 0), (len(table), 0))
        return
    place = _places(table, total, pieces)
    run(lambda piece: part(place(piece), place(piece + 1)), pieces, threads)


def _places(table: Any, total: int, pieces: int) -> Callable[[int], Place]:
    """Where each piece begins."""
    sizes = table["sizes"]
    tiles = sizes[:, 0] * -(-sizes[:, 1] // table["height"]) * -(-(sizes[:, 2] + 3) // WIDTH)
    elements = np.cumsum(sizes.prod(1))

    def place(piece: int) -> Place:
        before = total * piece // pieces
        if before == total:
            return len(table), 0
        row = int(np.searchsorted(elements, before, side="right"))
        size = int(sizes[row].prod())
        return row, int(tiles[row]) * (before - int(elements[row]) + size) // size

    return place


@lru_cache(maxsize=4096)
def _law(law: Distribution, dtype: str) -> tuple[Any, ...]:
    """The law, the lowest and the highest value, as the loops take them."""
    constants = lower(law)
    lowest, highest = constants.bounds(dtype)
    clamp = constants.clamp(dtype)
    lowest = lowest if Clamp.BELOW in clamp else -np.inf
    highest = highest if Clamp.ABOVE in clamp else np.inf
    return _as_tuple(constants), np.float32(lowest), np.float32(highest)


def _as_tuple(constants: Lowered) -> Any:
    kind = _LAWS[constants.regime]
    fields: dict[str, Any] = {name: getattr(constants, name) for name in kind._fields}
    for name, value in fields.items():
        if name == "coefficients":
            fields[name] = tuple(map(np.float32, value))
        else:
            fields[name] = np.int64(value) if name == "split" else np.float32(value)
    return kind(**fields)
