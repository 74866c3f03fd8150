"""Fill of one run of consecutive global indices, or of rows of them: linear and embedding weights, and their shards.

A unit is VECTOR consecutive elements, from one or two Philox calls, which one thread computes and stores at once. A block
is UNITS units, and begins at a multiple of its size in the *global* index, so that no counter carries within it.
"""

import triton
import triton.language as tl

from .groups import group_values
from .quantile import round_to

# No value of these makes a kernel of its own.
DYNAMIC = (
    "row_pitch", "first_index", "global_row_pitch", "columns", "blocks_per_row", "blocks_per_program", "k0", "k1", "s0", "s1",
    "scale", "offset", "offset_right", "gain", "shift", "origin", "split", "lowest", "highest",
)  # fmt: skip


@triton.jit(do_not_specialize=DYNAMIC)
def fill_rows(
    out_ptr, row_pitch: tl.int64,  # the first row's first element; memory elements from row to row
    first_index: tl.uint64, global_row_pitch: tl.uint64,  # the first element's global index; indices from row to row
    columns: tl.int64, blocks_per_row: tl.int32, blocks_per_program: tl.int32,  # elements of a row, blocks
    k0: tl.uint32, k1: tl.uint32, s0: tl.uint32, s1: tl.uint32,  # words of the seed and of the stream, low word first
    scale, offset, offset_right, gain, shift, origin, split: tl.int64, lowest, highest, coefficients,  # of Lowered
    REGIME: tl.constexpr, CLAMP: tl.constexpr, LOG: tl.constexpr, EXACT_FMA: tl.constexpr,
    FLAT: tl.constexpr,  # there is but one row
    ALIGNED: tl.constexpr,  # every row begins and ends at a multiple of VECTOR
    VECTOR: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    # The interpreter types an integer by its value, whatever the annotation says.
    row_pitch, columns, split = row_pitch.to(tl.int64), columns.to(tl.int64), split.to(tl.int64)
    first, global_row_pitch = first_index.to(tl.uint64), global_row_pitch.to(tl.uint64)
    k0, k1, s0, s1 = k0.to(tl.uint32), k1.to(tl.uint32), s0.to(tl.uint32), s1.to(tl.uint32)

    SIZE: tl.constexpr = UNITS * VECTOR
    program = tl.program_id(0).to(tl.int64)
    if not FLAT:
        programs_per_row = (blocks_per_row + blocks_per_program - 1) // blocks_per_program
        row = program // programs_per_row
        program -= row * programs_per_row
        # The quotient tells the compiler that an aligned row begins where a vector may be stored.
        out_ptr += row * (row_pitch // VECTOR) * VECTOR if ALIGNED else row * row_pitch
        first += row.to(tl.uint64) * global_row_pitch

    # In units of SIZE elements of the global index; only the first and the last block of a row can be partial.
    block = first // SIZE + (program * blocks_per_program).to(tl.uint64)
    # Where the block begins in the row: negative for a first block that begins before it.
    start = (block * UNITS - first // VECTOR).to(tl.int64) * VECTOR
    if not ALIGNED:
        start -= (first % VECTOR).to(tl.int64)
    element = tl.arange(0, SIZE)
    lane = tl.arange(0, UNITS).to(tl.uint32) * (VECTOR // 4)

    for _ in range(blocks_per_program):
        group = block * (SIZE // 4)
        values = unit_values(
            group.to(tl.uint32) + lane, (group >> 32).to(tl.uint32), s0, s1, k0, k1,
            coefficients, scale, offset, offset_right, gain, shift, origin, split, lowest, highest,
            VECTOR, REGIME, CLAMP, LOG, EXACT_FMA,
        )  # fmt: skip
        values = round_to(values.reshape(SIZE), out_ptr.dtype.element_ty, EXACT_FMA)
        pointers = out_ptr + start + element
        if (start >= 0) & (start + SIZE <= columns):
            tl.store(pointers, values)
        else:
            low = tl.minimum(tl.maximum(-start, 0), SIZE).to(tl.int32)
            high = tl.minimum(tl.maximum(columns - start, 0), SIZE).to(tl.int32)
            if ALIGNED:  # the quotients tell the compiler that vectors are stored whole or not at all
                low, high = low // VECTOR * VECTOR, high // VECTOR * VECTOR
            tl.store(pointers, values, mask=(element >= low) & (element < high))
        block += 1
        start += SIZE


@triton.jit
def unit_values(
    counter, counter_high, s0, s1, k0, k1,  # uint32: (UNITS,) first groups of the units, and scalars
    coefficients, scale, offset, offset_right, gain, shift, origin, split, lowest, highest,
    VECTOR: tl.constexpr,
    REGIME: tl.constexpr, CLAMP: tl.constexpr, LOG: tl.constexpr, EXACT_FMA: tl.constexpr,
):  # fmt: skip
    """The elements of units, in order; the joins leave those of a unit in one thread's registers."""
    v0, v1, v2, v3 = group_values(
        counter, counter_high, s0, s1, k0, k1,
        coefficients, scale, offset, offset_right, gain, shift, origin, split, lowest, highest,
        REGIME, CLAMP, LOG, EXACT_FMA,
    )  # fmt: skip
    if VECTOR == 8:
        x0, x1, x2, x3 = group_values(
            counter + 1, counter_high, s0, s1, k0, k1,
            coefficients, scale, offset, offset_right, gain, shift, origin, split, lowest, highest,
            REGIME, CLAMP, LOG, EXACT_FMA,
        )  # fmt: skip
        v0, v1, v2, v3 = tl.join(v0, x0), tl.join(v1, x1), tl.join(v2, x2), tl.join(v3, x3)
    return tl.join(tl.join(v0, v2), tl.join(v1, v3))
