"""Fill of one run of consecutive global indices, or of rows of them, which may begin and end anywhere."""

import triton
import triton.language as tl

from .blocks import fill_blocks
from .law import Law

# No value of these makes a kernel of its own.
DYNAMIC = (
    "row_pitch", "first_index", "global_row_pitch", "columns", "programs_per_row", "log2_blocks",
    "k0", "k1", "s0", "s1", "split",
)  # fmt: skip


@triton.jit(do_not_specialize=DYNAMIC)
def fill_rows(
    out_ptr, row_pitch: tl.int64,  # the first row's first element; memory elements from row to row
    first_index: tl.uint64, global_row_pitch: tl.uint64,  # the first element's global index; indices from row to row
    columns: tl.int64, programs_per_row: tl.int32, log2_blocks: tl.int32,  # elements of a row; blocks of a program
    k0: tl.uint32, k1: tl.uint32, s0: tl.uint32, s1: tl.uint32,  # words of the seed and of the stream, low word first
    numbers, split: tl.int32, bounds, coefficients,  # of Law
    REGIME: tl.constexpr, CLAMP: tl.constexpr, SIDE: tl.constexpr, LOG: tl.constexpr,  # of Law
    FLAT: tl.constexpr,  # there is but one row
    ALIGNED: tl.constexpr,  # FLAT, and the row begins and ends at a multiple of VECTOR
    VECTOR: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    # The interpreter types an integer by its value, whatever the annotation says.
    row_pitch, columns = row_pitch.to(tl.int64), columns.to(tl.int64)
    first, global_row_pitch = first_index.to(tl.uint64), global_row_pitch.to(tl.uint64)
    key = (s0.to(tl.uint32), s1.to(tl.uint32), k0.to(tl.uint32), k1.to(tl.uint32))

    program = tl.program_id(0)
    if not FLAT:
        row = program // programs_per_row
        program -= row * programs_per_row
        out_ptr += row.to(tl.int64) * row_pitch
        first += row.to(tl.uint64) * global_row_pitch
    fill_blocks(
        out_ptr, first, columns, program.to(tl.int64), log2_blocks,
        key, Law(REGIME, CLAMP, SIDE, LOG, *numbers, split.to(tl.int32), *bounds, coefficients),
        True, ALIGNED, VECTOR, UNITS,
    )  # fmt: skip
