"""Fill of a box of a three-dimensional bank (experts, rows, columns) in memory of any strides."""

import triton
import triton.language as tl

from .blocks import group_values
from .law import Law
from .rounding import round_to

# No value of these makes a kernel of its own.
DYNAMIC = (
    "expert_pitch", "row_pitch", "column_pitch", "first_index", "global_expert_pitch", "global_row_pitch",
    "rows", "columns", "row_tiles", "column_tiles", "k0", "k1", "s0", "s1", "split",
)  # fmt: skip


@triton.jit(do_not_specialize=DYNAMIC)
def fill_box(
    out_ptr,  # the box's first element
    expert_pitch: tl.int64, row_pitch: tl.int64, column_pitch: tl.int64,  # memory elements along each dimension
    first_index: tl.uint64,  # the first element's global index
    global_expert_pitch: tl.uint64, global_row_pitch: tl.uint64,  # global indices along each dimension
    rows: tl.int64, columns: tl.int64,  # of the box
    row_tiles: tl.int64, column_tiles: tl.int64,
    k0: tl.uint32, k1: tl.uint32, s0: tl.uint32, s1: tl.uint32,  # words of the seed and of the stream, low word first
    numbers, split: tl.int64, bounds, coefficients,  # of Law
    REGIME: tl.constexpr, CLAMP: tl.constexpr, LOG: tl.constexpr,  # of Law
    ROWS_DENSE: tl.constexpr, COLUMNS_DENSE: tl.constexpr,  # whether the pitch is 1, which lets stores coalesce
    ALIGNED: tl.constexpr,  # columns are dense, and every row begins and ends at a multiple of 4
    ROWS: tl.constexpr, GROUPS: tl.constexpr,  # of a tile
):  # fmt: skip
    # The interpreter types an integer by its value, whatever the annotation says.
    expert_pitch, row_pitch, column_pitch = expert_pitch.to(tl.int64), row_pitch.to(tl.int64), column_pitch.to(tl.int64)
    rows, columns = rows.to(tl.int64), columns.to(tl.int64)
    row_tiles, column_tiles = row_tiles.to(tl.int64), column_tiles.to(tl.int64)
    first_index = first_index.to(tl.uint64)
    global_expert_pitch, global_row_pitch = global_expert_pitch.to(tl.uint64), global_row_pitch.to(tl.uint64)
    key = (s0.to(tl.uint32), s1.to(tl.uint32), k0.to(tl.uint32), k1.to(tl.uint32))

    tile = tl.program_id(0).to(tl.int64)
    expert = tile // (row_tiles * column_tiles)
    tile -= expert * row_tiles * column_tiles
    row_tile = tile // column_tiles
    column_tile = tile - row_tile * column_tiles

    row = row_tile * ROWS + tl.arange(0, ROWS).to(tl.int64)[:, None]
    first = first_index + expert.to(tl.uint64) * global_expert_pitch + row.to(tl.uint64) * global_row_pitch
    group_in_row = column_tile * GROUPS + tl.arange(0, GROUPS).to(tl.int64)[None, :]
    group = first // 4 + group_in_row.to(tl.uint64)
    v0, v1, v2, v3 = group_values(
        group.to(tl.uint32), (group >> 32).to(tl.uint32),
        key, Law(REGIME, CLAMP, LOG, *numbers, split.to(tl.int64), *bounds, coefficients),
    )  # fmt: skip
    v0 = round_to(v0, out_ptr.dtype.element_ty)
    v1 = round_to(v1, out_ptr.dtype.element_ty)
    v2 = round_to(v2, out_ptr.dtype.element_ty)
    v3 = round_to(v3, out_ptr.dtype.element_ty)

    if ALIGNED:
        # The quotients tell the compiler that a group may be stored as a vector.
        out_ptr += expert * (expert_pitch // 4) * 4
        values = tl.join(tl.join(v0, v2), tl.join(v1, v3)).reshape(ROWS, GROUPS * 4)
        column = column_tile * (GROUPS * 4) + tl.arange(0, GROUPS * 4).to(tl.int64)[None, :]
        pointers = out_ptr + row * (row_pitch // 4) * 4 + column
        tl.store(pointers, values, mask=(row < rows) & (column < columns // 4 * 4))
    else:
        out_ptr += expert * expert_pitch
        row_step = row if ROWS_DENSE else row * row_pitch
        column = group_in_row * 4 - (first % 4).to(tl.int64)  # below 0 where a row begins within a group
        column_step = 1 if COLUMNS_DENSE else column_pitch
        pointers = out_ptr + row_step + column * column_step
        tl.store(pointers, v0, mask=(row < rows) & (column >= 0) & (column < columns))
        tl.store(pointers + column_step, v1, mask=(row < rows) & (column >= -1) & (column < columns - 1))
        tl.store(pointers + 2 * column_step, v2, mask=(row < rows) & (column >= -2) & (column < columns - 2))
        tl.store(pointers + 3 * column_step, v3, mask=(row < rows) & (column >= -3) & (column < columns - 3))
