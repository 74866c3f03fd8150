"""Fill of a box of a three-dimensional bank (experts, rows, columns) in memory of any strides."""

import triton
import triton.language as tl

from .blocks import first_products, group_values, interleaved, unit_values
from .division import quotient
from .law import Law
from .philox import M0, multiply_wide
from .rounding import round_to

# No value of these makes a kernel of its own.
DYNAMIC = (
    "expert_pitch", "row_pitch", "column_pitch", "first_index", "global_expert_pitch", "global_row_pitch",
    "rows", "columns", "row_tiles", "row_tiles_multiplier", "row_tiles_shift",
    "column_tiles", "column_tiles_multiplier", "column_tiles_shift", "k0", "k1", "s0", "s1", "split",
)  # fmt: skip


@triton.jit(do_not_specialize=DYNAMIC)
def fill_box(
    out_ptr,  # the box's first element
    expert_pitch: tl.int64, row_pitch: tl.int64, column_pitch: tl.int64,  # memory elements along each dimension
    first_index: tl.uint64,  # the first element's global index
    global_expert_pitch: tl.uint64, global_row_pitch: tl.uint64,  # global indices along each dimension
    rows: tl.int64, columns: tl.int64,  # of the box
    row_tiles: tl.uint32, row_tiles_multiplier: tl.uint32, row_tiles_shift: tl.uint32,  # and to divide by it
    column_tiles: tl.uint32, column_tiles_multiplier: tl.uint32, column_tiles_shift: tl.uint32,
    k0: tl.uint32, k1: tl.uint32, s0: tl.uint32, s1: tl.uint32,  # words of the seed and of the stream, low word first
    numbers, split: tl.int32, bounds, coefficients,  # of Law
    REGIME: tl.constexpr, CLAMP: tl.constexpr, SIDE: tl.constexpr, LOG: tl.constexpr,  # of Law
    ROWS_DENSE: tl.constexpr, COLUMNS_DENSE: tl.constexpr,  # whether the pitch is 1, which lets stores coalesce
    VECTOR: tl.constexpr,  # elements along the dense dimension that are stored at once; 1: each by itself
    WHOLE: tl.constexpr,  # VECTOR > 1, and every row begins and ends at a multiple of a tile's columns, so that no counter carries
    ROWS: tl.constexpr, GROUPS: tl.constexpr,  # of a tile
):  # fmt: skip
    # The interpreter types an integer by its value, whatever the annotation says.
    expert_pitch, row_pitch, column_pitch = expert_pitch.to(tl.int64), row_pitch.to(tl.int64), column_pitch.to(tl.int64)
    rows, columns = rows.to(tl.int64), columns.to(tl.int64)
    global_expert_pitch, global_row_pitch = global_expert_pitch.to(tl.uint64), global_row_pitch.to(tl.uint64)
    key = (s0.to(tl.uint32), s1.to(tl.uint32), k0.to(tl.uint32), k1.to(tl.uint32))

    tile = tl.program_id(0).to(tl.uint32)
    strip = quotient(tile, column_tiles_multiplier, column_tiles_shift)
    expert = quotient(strip, row_tiles_multiplier, row_tiles_shift)
    first_row = (strip - expert * row_tiles.to(tl.uint32)).to(tl.int64) * ROWS
    first_group = (tile - strip * column_tiles.to(tl.uint32)).to(tl.int64) * GROUPS
    # The global index of the tile's first row, where it begins in the box.
    first = first_index.to(tl.uint64) + expert.to(tl.uint64) * global_expert_pitch
    first += first_row.to(tl.uint64) * global_row_pitch
    if VECTOR > 1:  # the quotients tell the compiler where vectors are stored
        expert_pitch = expert_pitch // VECTOR * VECTOR
        row_pitch = row_pitch // VECTOR * VECTOR if COLUMNS_DENSE else 1
        column_pitch = 1 if COLUMNS_DENSE else column_pitch // VECTOR * VECTOR
    out_ptr += expert.to(tl.int64) * expert_pitch + first_row * row_pitch + first_group * 4 * column_pitch
    rows -= first_row
    columns -= first_group * 4
    if VECTOR == 1:
        fill_elements(
            out_ptr, 1 if ROWS_DENSE else row_pitch, 1 if COLUMNS_DENSE else column_pitch,
            first, first_group, global_row_pitch, rows, columns,
            key, Law(REGIME, CLAMP, SIDE, LOG, *numbers, split.to(tl.int32), *bounds, coefficients),
            ROWS, GROUPS,
        )  # fmt: skip
    elif COLUMNS_DENSE:
        fill_along_columns(
            out_ptr, row_pitch, first // 4 + first_group.to(tl.uint64), global_row_pitch // 4, rows, columns,
            key, Law(REGIME, CLAMP, SIDE, LOG, *numbers, split.to(tl.int32), *bounds, coefficients),
            VECTOR, WHOLE, ROWS, GROUPS,
        )  # fmt: skip
    else:
        fill_along_rows(
            out_ptr, column_pitch, first // 4 + first_group.to(tl.uint64), global_row_pitch // 4, rows, columns,
            key, Law(REGIME, CLAMP, SIDE, LOG, *numbers, split.to(tl.int32), *bounds, coefficients),
            VECTOR, WHOLE, ROWS, GROUPS,
        )  # fmt: skip


@triton.jit
def fill_along_columns(
    out_ptr, row_pitch,  # the tile's first element; memory elements from row to row
    group, groups_pitch,  # its first group; groups from row to row, uint64
    rows, columns,  # that are left of the box, int64; they may be more than the tile's
    key, law,
    VECTOR: tl.constexpr, WHOLE: tl.constexpr, ROWS: tl.constexpr, GROUPS: tl.constexpr,
):  # fmt: skip
    """A tile that lies in memory row by row. What a row has in common is computed once for all of a thread's elements."""
    row = tl.arange(0, ROWS)[:, None]
    unit = tl.arange(0, GROUPS * 4 // VECTOR)[None, :] * (VECTOR // 4)
    counter, high = counters(group + row.to(tl.uint64) * groups_pitch, unit, WHOLE)
    values = unit_values(first_products(counter, 0, False, VECTOR), high, key, law, VECTOR).reshape(ROWS, GROUPS * 4)
    column = tl.arange(0, GROUPS * 4)[None, :]
    mask = row < tl.minimum(rows, ROWS).to(tl.int32)
    if not WHOLE:
        mask &= column < tl.minimum(columns, GROUPS * 4).to(tl.int32) // VECTOR * VECTOR
    pointers = out_ptr + row.to(tl.int64) * row_pitch + column
    tl.store(pointers, round_to(values, out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def fill_along_rows(
    out_ptr, column_pitch, group, groups_pitch, rows, columns, key, law,
    VECTOR: tl.constexpr, WHOLE: tl.constexpr, ROWS: tl.constexpr, GROUPS: tl.constexpr,
):  # fmt: skip
    """A tile that lies in memory column by column. A thread has the groups of VECTOR rows: a vector for each of four columns."""
    run = tl.arange(0, ROWS // VECTOR)[None, :]
    step = tl.arange(0, GROUPS)[:, None]
    group += run.to(tl.uint64) * (VECTOR * groups_pitch)
    parts = ()
    for _ in tl.static_range(VECTOR):
        counter, high = counters(group, step, WHOLE)
        parts = parts + (group_values(multiply_wide(counter, M0), high, key, law),)
        group += groups_pitch
    row = tl.arange(0, ROWS)[None, :]
    mask = row < tl.minimum(rows, ROWS).to(tl.int32) // VECTOR * VECTOR
    if not WHOLE:
        mask &= step < tl.minimum(columns, GROUPS * 4).to(tl.int32) // 4
    pointers = out_ptr + row + step.to(tl.int64) * (4 * column_pitch)
    for k in tl.static_range(4):
        v0, v1, v2, v3 = parts[0][k], parts[1][k], parts[2][k], parts[3][k]
        if VECTOR == 8:
            v0, v1 = tl.join(v0, parts[4][k]), tl.join(v1, parts[5][k])
            v2, v3 = tl.join(v2, parts[6][k]), tl.join(v3, parts[7][k])
        values = round_to(interleaved(v0, v1, v2, v3).reshape(GROUPS, ROWS), out_ptr.dtype.element_ty)
        tl.store(pointers + k * column_pitch, values, mask=mask)


@triton.jit
def counters(group, step, WHOLE: tl.constexpr):
    """Low and high words of the groups' numbers. Where tiles are WHOLE, the steps within one carry into no high word."""
    if WHOLE:
        counter = group.to(tl.uint32) + step.to(tl.uint32)
    else:
        group += step.to(tl.uint64)
        counter = group.to(tl.uint32)
    return counter, (group >> 32).to(tl.uint32)


@triton.jit
def fill_elements(
    out_ptr, row_pitch, column_pitch, first, first_group, global_row_pitch, rows, columns, key, law,
    ROWS: tl.constexpr, GROUPS: tl.constexpr,
):  # fmt: skip
    """A tile of which each element is stored by itself."""
    row = tl.arange(0, ROWS)[:, None]
    first = first + row.to(tl.uint64) * global_row_pitch
    group = first // 4 + first_group.to(tl.uint64) + tl.arange(0, GROUPS)[None, :].to(tl.uint64)
    values = group_values(multiply_wide(group.to(tl.uint32), M0), (group >> 32).to(tl.uint32), key, law)
    # Below 0 where a row begins within a group, which is in the first tile of a row.
    column = tl.arange(0, GROUPS)[None, :] * 4 - (first % 4).to(tl.int32)
    least = tl.where(first_group == 0, 0, -4)
    rows, columns = tl.minimum(rows, ROWS).to(tl.int32), tl.minimum(columns, GROUPS * 4).to(tl.int32)
    pointers = out_ptr + row.to(tl.int64) * row_pitch + column.to(tl.int64) * column_pitch
    for k in tl.static_range(4):
        mask = (row < rows) & (column + k >= least) & (column + k < columns)
        tl.store(pointers + k * column_pitch, round_to(values[k], out_ptr.dtype.element_ty), mask=mask)
