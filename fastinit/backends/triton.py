"""Triton backend: the launches. A tensor's dimensions are merged into loops, which one of two kernels runs."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import lru_cache
from itertools import product
from math import gcd
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from fastinit.backends.division import reciprocal
from fastinit.backends.triton_launch import Launch, Repeated
from fastinit.backends.triton_table import (
    TableLaunch,
    clamp_of,
    is_light,
    launches_of,
    numbers_of,
    side_of,
    split_of,
    vector_of,
)
from fastinit.fill import Fill, Fills
from fastinit.kernels.expert import fill_box
from fastinit.kernels.linear import fill_rows
from fastinit.kernels.table import fill_table
from fastinit.law.distributions import Distribution
from fastinit.law.lowered import Clamp, Regime
from fastinit.law.lowering import lower
from fastinit.law.quantile_table import LOG_BUMP, LOG_RATIO, SKEW_LOG_RATIO
from fastinit.shard.axes import Axis, merge_axes
from fastinit.shard.geometry import LocalShard, Shape, row_major_strides
from fastinit.stream import Key

INTERPRETED = not isinstance(fill_rows, triton.JITFunction)

WARPS = 4
UNITS = 1024  # of a block of a row: 32 fp32 or 64 bf16 elements a thread share what a block has in common
PROGRAMS = 4096  # enough for every multiprocessor; past that, each program gets up to BLOCKS blocks
BLOCKS = 8  # a power of two
TILE = 1024  # groups of four of a tile of a box
WIDTH = 256  # of them along the columns, at most
TRANSPOSED_WIDTH = 2  # where memory runs along the rows

_LOGS = {
    Regime.CENTRAL: tuple(c * 2.0**23 for c in LOG_BUMP),
    Regime.WIDE: LOG_BUMP,
    Regime.SKEW: SKEW_LOG_RATIO,
    Regime.FLANK: LOG_RATIO,
    Regime.FAR: LOG_RATIO,
}
_NO_AXIS = Axis(1, 0, 0)


def fill_(tensor: Tensor, fill: Fill) -> None:
    """Fill a tensor of any strides: one launch, but for boxes of more than three loops."""
    bound(tuple(tensor.shape), tensor.stride(), tensor.dtype, fill.shard, fill.distribution)(tensor, fill.key)


def bound(
    shape: Shape, strides: Shape, dtype: torch.dtype, shard: LocalShard, law: Distribution
) -> Callable[[Tensor, Key], None]:
    """A fill of any tensor of this shape, these strides and this dtype on one device, with any key."""
    launches = [Repeated(launch) for launch in plan(shape, strides, dtype, shard, law)]

    def fill(tensor: Tensor, key: Key) -> None:
        words = _words(key)
        with _on_device_of(tensor):
            for launch in launches:
                launch(tensor, words)

    return fill


def fill_many_(tensors: Sequence[Tensor], fills: Fills) -> None:
    """Fill a list of tensors on one device: a few launches, and one for each tensor that the tables do not serve."""
    # A replay of a CUDA graph would copy the tables again, from pinned memory that others have had since.
    launches, alone = ([], range(len(tensors))) if _capturing(tensors[0]) else launches_of(tensors, fills)
    if launches:
        with _on_device_of(tensors[0]):
            for launch, tables in zip(launches, _on_device(launches, tensors[0].device), strict=True):
                fill_table[(launch.programs,)](
                    *tables,
                    **_law_options(launch.law, launch.clamp),
                    COEFFICIENTS=len(lower(launch.law).coefficients),
                    DTYPE=getattr(tl, launch.dtype),
                    LOOP=launch.loop,
                    VECTOR=vector_of(launch.dtype),
                    UNITS=launch.units,
                )
    for k in alone:
        fill_(tensors[k], fills.one(k))


def _on_device(launches: list[TableLaunch], device: torch.device) -> list[tuple[Tensor, ...]]:
    """The tables of each launch, copied all at once and without a sync.

    torch gives the pinned memory to others only once the copy is done, and the device's once the launches are.
    """
    tables = [table for launch in launches for table in launch.tables]
    # A pointer that is a multiple of 16 in one list and not in another would make a kernel of its own.
    sizes = [-(-table.nbytes // 16) * 16 for table in tables]
    host = torch.empty(sum(sizes), dtype=torch.uint8, device="cpu", pin_memory=device.type == "cuda")
    for part, table in zip(host.split(sizes), tables, strict=True):
        np.copyto(part.numpy()[: table.nbytes].view(table.dtype).reshape(table.shape), table)
    parts = host.to(device, non_blocking=True).split(sizes)
    typed = [part.view(getattr(torch, table.dtype.name)) for part, table in zip(parts, tables, strict=True)]
    return [tuple(typed[k : k + 3]) for k in range(0, len(typed), 3)]


@lru_cache(maxsize=4096)
def plan(
    shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype, shard: LocalShard, law: Distribution
) -> tuple[Launch, ...]:
    """The launches that fill a tensor of this shape, these strides and this dtype."""
    axes = merge_axes(shape, strides, row_major_strides(shard.global_shape))
    first = shard.first_index
    if axes[-1].stride == 1 and (len(axes) == 1 or (len(axes) == 2 and _vector(axes, first, 0, dtype) == 1)):
        return (_rows(axes, first, dtype, law),)
    outer, inner = axes[:-3], [_NO_AXIS] * (3 - len(axes)) + axes[-3:]
    launches = []
    for turn in product(*(range(axis.size) for axis in outer)):
        offset = sum(k * axis.stride for k, axis in zip(turn, outer, strict=True))
        index = first + sum(k * axis.global_stride for k, axis in zip(turn, outer, strict=True))
        launches.append(_box(inner, index, offset, dtype, law))
    return tuple(launches)


def _rows(axes: list[Axis], first: int, dtype: torch.dtype, law: Distribution) -> Launch:
    """``fill_rows`` for one loop, or for two of which no vectors can be stored, over consecutive elements."""
    row, column = axes if len(axes) == 2 else (_NO_AXIS, axes[0])
    vector = vector_of(str(dtype).removeprefix("torch."))
    # SKEW's 16-bit values are spilled on sm_100 where a program has several blocks, and not those of a table.
    light = is_light(lower(law), str(dtype).removeprefix("torch.")) and (
        lower(law).regime is not Regime.SKEW or vector == 4
    )
    units = UNITS if light else UNITS // 2
    # A flat fill has one block size, so that no size makes a kernel of its own; rows may be short and many.
    while len(axes) == 2 and units > 32 and units * vector > column.size:
        units //= 2
    size = units * vector
    blocks = spans(first, row.global_stride, column.size, size)
    log2_blocks = min(max(row.size * blocks // PROGRAMS, 1), BLOCKS, blocks).bit_length() - 1
    programs_per_row = spans(first, row.global_stride, column.size, size << log2_blocks)
    aligned = len(axes) == 1 and first % vector == column.size % vector == 0
    return Launch(
        fill_rows,
        row.size * programs_per_row,
        0,
        (row.stride, first, row.global_stride, column.size, programs_per_row, log2_blocks),
        _law_arguments(law, dtype),
        _law_options(law, _clamp(law, dtype)[0])
        | dict(FLAT=len(axes) == 1, ALIGNED=aligned, VECTOR=vector, UNITS=units),
    )


def spans(first: int, global_row_pitch: int, columns: int, size: int) -> int:
    """How many spans of a size, each at a multiple of it in the global index, the worst row reaches into: one that begins at
    the end of a span, unless all begin alike."""
    begin = first % size if global_row_pitch % size == 0 else size - 1
    return (begin + columns - 1) // size + 1


def _box(axes: list[Axis], first: int, offset: int, dtype: torch.dtype, law: Distribution) -> Launch:
    """``fill_box`` for three loops, the first element of which lies ``offset`` elements into the tensor."""
    expert, row, column = axes
    columns_dense, rows_dense = column.stride == 1, row.stride == 1
    vector = _vector(axes, first, offset, dtype)
    # Every row begins and ends at a multiple of this power of two, in the global index.
    alike = _power_of_2(first, column.size, expert.global_stride, row.global_stride)
    groups = (column.size + 3) // 4 + (vector == 1)  # + 1: a row may begin within a group
    if rows_dense and not columns_dense:
        tile = TILE * max(vector // 4, 1)  # a thread has the groups of a vector's rows, and more than one such vector
        height = min(triton.next_power_of_2(row.size), tile // TRANSPOSED_WIDTH)
        width = min(triton.next_power_of_2(groups), tile // height)
    else:
        width = min(triton.next_power_of_2(groups), WIDTH * max(vector // 4, 1))
        if alike >= 32:
            width = min(width, alike // 4)
        height = min(triton.next_power_of_2(row.size), TILE // width)
    row_tiles, column_tiles = triton.cdiv(row.size, height), triton.cdiv(groups, width)
    return Launch(
        fill_box,
        expert.size * row_tiles * column_tiles,
        offset,
        (
            *(axis.stride for axis in axes),
            first, expert.global_stride, row.global_stride,
            row.size, column.size, row_tiles, *reciprocal(row_tiles), column_tiles, *reciprocal(column_tiles),
        ),
        _law_arguments(law, dtype),
        _law_options(law, _clamp(law, dtype)[0])
        | dict(
            ROWS_DENSE=rows_dense,
            COLUMNS_DENSE=columns_dense,
            VECTOR=vector,
            WHOLE=vector > 1 and alike % (4 * width) == 0,
            ROWS=height,
            GROUPS=width,
        ),
    )  # fmt: skip


def _vector(axes: list[Axis], first: int, offset: int, dtype: torch.dtype) -> int:
    """How many elements of a box are stored at once: neighbours in memory, all of them in the box; 1 where that is not so."""
    dense = next((axis for axis in axes[:-3:-1] if axis.stride == 1), None)
    if dense is None:
        return 1
    others = (axis.stride for axis in axes if axis is not dense)
    alike = _power_of_2(offset, dense.size, *others)
    indices = _power_of_2(first, axes[-1].size, *(axis.global_stride for axis in axes[:-1]))
    if dense is axes[-1]:
        alike = min(alike, indices)
    wanted = vector_of(str(dtype).removeprefix("torch."))
    return next((size for size in (wanted, 4) if alike >= size and indices >= 4), 1)


def _power_of_2(*numbers: int) -> int:
    """The greatest that divides them all, none of which is below 0."""
    divisor = gcd(*numbers)
    return divisor & -divisor


def _law_arguments(law: Distribution, dtype: torch.dtype) -> tuple[Any, ...]:
    constants = lower(law)
    return numbers_of(constants), split_of(constants), _clamp(law, dtype)[1], constants.coefficients


def _law_options(law: Distribution, clamp: Clamp) -> dict[str, Any]:
    """What a kernel is compiled for, of a law."""
    constants = lower(law)
    options: dict[str, Any] = dict(
        REGIME=int(constants.regime),
        CLAMP=int(clamp),
        SIDE=side_of(constants),
        LOG=_LOGS.get(constants.regime, ()),
    )
    # Without fusion no multiply and add is contracted that the contract rounds apart.
    return options if INTERPRETED else options | dict(num_warps=WARPS, enable_fp_fusion=False)


def _clamp(law: Distribution, dtype: torch.dtype) -> tuple[Clamp, tuple[float, float]]:
    return clamp_of(law, str(dtype).removeprefix("torch."))


def _words(key: Key) -> tuple[int, int, int, int]:
    """The words of the seed and of the stream, low word first."""
    return key.seed & 0xFFFFFFFF, key.seed >> 32, key.stream & 0xFFFFFFFF, key.stream >> 32


def _capturing(tensor: Tensor) -> bool:
    """Whether what is launched now becomes part of a CUDA graph."""
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def _on_device_of(tensor: Tensor) -> Any:
    """Triton launches on the current device."""
    if tensor.is_cuda and tensor.device.index != torch.cuda.current_device():
        return torch.cuda.device(tensor.device)
    return nullcontext()
