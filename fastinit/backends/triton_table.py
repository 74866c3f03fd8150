"""The table of a list of tensors: runs and rows of consecutive elements, of which one launch fills many."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from fastinit.backends.division import reciprocal
from fastinit.fill import Fills
from fastinit.kernels.table import ROW_FIELDS
from fastinit.law.distributions import Distribution
from fastinit.law.formats import FORMATS
from fastinit.law.lowered import Clamp, Lowered, Regime
from fastinit.law.lowering import lower
from fastinit.law.reach import floor
from fastinit.shard.axes import Axis, merge_axes
from fastinit.shard.geometry import Shape, row_major_strides

PROGRAMS = 4096  # as for one tensor: enough for every multiprocessor
BLOCKS = 8  # of a program at most; a power of two
UNITS = (1024, 256, 64)  # of a block, by the length of a row; half as many where the regime is not light
# Of one tensor in the table. With more rows, or blocks, filling it takes longer than a launch of its own.
ROWS_AT_MOST, BLOCKS_AT_MOST = 64, 4096

# The columns that the kernel reads, in its order, and one more from which they are computed.
ROW = np.dtype(
    [
        ("address", np.int64),  # of the first element
        ("row_pitch", np.int64),  # memory elements from row to row
        ("first_index", np.uint64),
        ("global_row_pitch", np.uint64),
        ("columns", np.int64),
        ("programs_per_row", np.uint32),
        ("log2_blocks", np.uint32),  # of a program
        ("multiplier", np.uint32),  # to divide by programs_per_row
        ("shift", np.uint32),
        ("first_program", np.uint32),
        ("law", np.uint32),  # a row of the table of laws
        ("split", np.int64),
        ("seed", np.uint64),
        ("stream", np.uint64),
        ("rows", np.int64),
    ]
)
_DTYPES = tuple(FORMATS)
_BYTES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}


class TableLaunch(NamedTuple):
    """One launch: what the kernel is compiled for, and the tables that it reads."""

    dtype: str
    law: Distribution  # any of its laws: they share a regime and the number of coefficients
    clamp: Clamp
    units: int
    loop: bool  # whether a program fills more than one block
    programs: int
    tables: tuple[Any, Any, Any]  # as the kernel takes them: rows, laws, row of each program


def is_light(law: Lowered, dtype: str) -> bool:
    """Whether a thread holds a whole block's share in registers; of other fills it holds half as much."""
    return _BYTES[dtype] < 8 and (law.regime is not Regime.FLANK or side_of(law) != 0)


def vector_of(dtype: str) -> int:
    """Elements of a unit, which one thread stores at once."""
    return 8 if _BYTES[dtype] == 2 else 4


def launches_of(tensors: Sequence[Tensor], fills: Fills) -> tuple[list[TableLaunch], Any]:
    """The launches that fill the tensors, and which of the tensors are left: those that no table serves."""
    pieces = [_pieces(*place) for place in fills.places]
    alone = np.flatnonzero(np.array([part is None for part in pieces])[fills.place])
    rows, tensor = fills.rows([np.zeros(0, ROW) if part is None else part for part in pieces])
    rows["address"] += np.array([t.data_ptr() for t in tensors], np.int64)[tensor]
    rows["law"] = fills.distribution[tensor]
    # A number for each kind of launch: dtype, regime, side, number of coefficients, and size of block.
    longest = np.array([vector_of(place.dtype) for place in fills.places])[:, None] * np.array(UNITS[:-1])
    level = (rows["columns"][:, None] < longest[fills.place[tensor]]).sum(1)
    regimes = [(law.regime, side_of(law), len(law.coefficients)) for law in map(lower, fills.distributions)]
    numbered = list(dict.fromkeys(regimes))
    regime = np.array([numbered.index(kind) for kind in regimes], np.int64)
    dtype = np.array([_DTYPES.index(place.dtype) for place in fills.places], np.int64)
    kind = (dtype[fills.place[tensor]] * len(numbered) + regime[rows["law"]]) * len(UNITS) + level
    launches = []
    for one in np.unique(kind):
        rest, size = divmod(int(one), len(UNITS))
        launches.append(_launch(rows[kind == one], _DTYPES[rest // len(numbered)], UNITS[size], fills.distributions))
    return launches, alone


@lru_cache(maxsize=4096)
def _pieces(shape: Shape, strides: Shape, dtype: str, global_shape: Shape) -> Any:
    """A tensor as ROWs without a key, or None. The address is in bytes from its first element.

    Two loops, the inner one over consecutive elements, are one ROW; of more loops, the outer ones are run here.
    """
    axes = merge_axes(shape, strides, row_major_strides(global_shape))
    if axes[-1].stride != 1:
        return None
    *outer, row, column = [Axis(1, 0, 0)] * (2 - len(axes)) + axes
    number = prod(axis.size for axis in outer)
    vector = vector_of(dtype)
    size = next((units * vector for units in UNITS if units * vector <= column.size), UNITS[-1] * vector)
    if number > ROWS_AT_MOST or number * row.size * (column.size // size + 1) > BLOCKS_AT_MOST:
        return None
    pieces = np.zeros(number, ROW)
    pieces["row_pitch"], pieces["global_row_pitch"] = row.stride, row.global_stride
    pieces["rows"], pieces["columns"] = row.size, column.size
    item = _BYTES[dtype]
    for piece, turn in zip(pieces, product(*(range(axis.size) for axis in outer)), strict=True):
        piece["address"] = sum(k * axis.stride for k, axis in zip(turn, outer, strict=True)) * item
        piece["first_index"] = sum(k * axis.global_stride for k, axis in zip(turn, outer, strict=True))
    return pieces


def _launch(rows: Any, dtype: str, units: int, distributions: Sequence[Distribution]) -> TableLaunch:
    """The launch for ROWs of one kind."""
    chosen, rows["law"] = np.unique(rows["law"], return_inverse=True)
    laws = [distributions[k] for k in chosen]
    lowered = [lower(law) for law in laws]
    clamps, bounds = zip(*(clamp_of(law, dtype) for law in laws), strict=True)
    clamp = clamps[0]
    if len(set(clamps)) > 1:  # one kernel for all of them
        clamp, bounds = Clamp.BELOW | Clamp.ABOVE, tuple(law.bounds(dtype) for law in lowered)
    rows["split"] = np.array([split_of(law) for law in lowered])[rows["law"]]
    units = units if is_light(lowered[0], dtype) else units // 2
    size = units * vector_of(dtype)
    blocks = _spans(rows, np.full(len(rows), size))
    at_most = min(max(int((blocks * rows["rows"]).sum()) // PROGRAMS, 1), BLOCKS)
    rows["log2_blocks"] = np.log2(np.minimum(at_most, blocks)).astype(np.uint32)
    rows["programs_per_row"] = _spans(rows, size << rows["log2_blocks"].astype(np.int64))
    rows["multiplier"], rows["shift"] = reciprocal(rows["programs_per_row"].astype(np.int64))
    programs = rows["rows"] * rows["programs_per_row"].astype(np.int64)
    rows["first_program"] = np.cumsum(programs) - programs
    return TableLaunch(
        dtype,
        laws[0],
        clamp,
        units,
        bool(rows["log2_blocks"].any()),
        int(programs.sum()),
        (
            rows.view(np.int64).reshape(len(rows), -1)[:, : ROW_FIELDS.value],
            _table(lowered, bounds),
            np.repeat(np.arange(len(rows), dtype=np.int32), programs),
        ),
    )


def _spans(rows: Any, size: Any) -> Any:
    """How many spans of a size, each at a multiple of it in the global index, a row of each ROW reaches into at most: one that
    begins at the end of a span, unless all begin alike."""
    alike = rows["global_row_pitch"] % size.astype(np.uint64) == 0
    begin = np.where(alike, rows["first_index"] % size.astype(np.uint64), (size - 1).astype(np.uint64)).astype(np.int64)
    return (begin + rows["columns"] - 1) // size + 1


def _table(laws: Sequence[Lowered], bounds: Sequence[tuple[float, float]]) -> Any:
    """The table of laws, with a last column that no one reads where without it a row would not be of whole pairs."""
    rows = [(*numbers_of(law), *ends, *law.coefficients) for law, ends in zip(laws, bounds, strict=True)]
    return np.array([row + (0.0,) * (len(row) % 2) for row in rows], np.float32)


def numbers_of(law: Lowered) -> tuple[float, ...]:
    """The numbers that a kernel takes before the split and the bounds, in the order of fastinit.kernels.law.Law."""
    return law.scale, law.offset, law.offset_right, law.gain, law.shift, law.origin


def side_of(law: Lowered) -> int:
    """On which side of the split all words lie, as fastinit.kernels.quantile has it: 1 the left, 2 the right, 0 both."""
    if law.regime not in (Regime.SKEW, Regime.FLANK, Regime.FAR):
        return 0
    return 2 if law.split <= -(2**31) else 1 if law.split >= 2**31 else 0


def split_of(law: Lowered) -> int:
    """The split, where words lie on both sides of it."""
    return 0 if side_of(law) else law.split


@lru_cache(maxsize=4096)
def clamp_of(law: Distribution, dtype: str) -> tuple[Clamp, tuple[float, float]]:
    """How values are kept inside, and the two numbers that takes."""
    constants = lower(law)
    clamp, (lowest, highest) = constants.clamp(dtype), constants.bounds(dtype)
    if clamp == Clamp.BELOW | Clamp.ABOVE and (y := floor(constants, dtype)) is not None:
        return Clamp.FLOOR, (y, highest)
    return clamp, (lowest, highest)
