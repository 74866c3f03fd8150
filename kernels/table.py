"""Fill of many runs and rows of consecutive global indices in one launch, each described by a row of a table.

A program looks up its row, and fills blocks of it as linear.py does. Numbers that differ from tensor to tensor come from
memory, so pointers carry no hint of their alignment: a block's address says whether vectors may be stored.
"""

import triton
import triton.language as tl

from .blocks import fill_blocks
from .law import Law

ROW_FIELDS = tl.constexpr(12)  # the columns of the table of rows
NUMBERS = tl.constexpr(6)  # of the table of laws, the columns before the two bounds and the coefficients


@triton.jit
def fill_table(
    rows_ptr, laws_ptr,  # (rows, ROW_FIELDS) int64, (laws, NUMBERS + 2 + COEFFICIENTS) fp32
    row_of_program_ptr,  # (programs,) int32
    REGIME: tl.constexpr, CLAMP: tl.constexpr, LOG: tl.constexpr,  # of Law
    COEFFICIENTS: tl.constexpr,  # how many
    DTYPE: tl.constexpr,  # of the tensors
    VECTOR: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    row_ptr = rows_ptr + tl.load(row_of_program_ptr + program).to(tl.int64) * ROW_FIELDS
    out_ptr = tl.load(row_ptr).to(tl.pointer_type(DTYPE))
    row_pitch = tl.load(row_ptr + 1)
    first = tl.load(row_ptr + 2).to(tl.uint64)
    global_row_pitch = tl.load(row_ptr + 3).to(tl.uint64)
    columns = tl.load(row_ptr + 4)
    programs_per_row = tl.load(row_ptr + 5).to(tl.int32)
    blocks_per_program = tl.load(row_ptr + 6).to(tl.int32)
    first_program = tl.load(row_ptr + 7)
    law = tl.load(row_ptr + 8)
    split = tl.load(row_ptr + 9)
    # Word by word: LLVM would widen to 64 bits what it knows to be halves of 64-bit numbers.
    words_ptr = (row_ptr + 10).to(tl.pointer_type(tl.uint32))
    k0, k1 = tl.load(words_ptr), tl.load(words_ptr + 1)
    s0, s1 = tl.load(words_ptr + 2), tl.load(words_ptr + 3)
    law_ptr = laws_ptr + law * (NUMBERS + 2 + COEFFICIENTS)
    numbers = loads(law_ptr, NUMBERS)
    bounds = loads(law_ptr + NUMBERS, 2)
    coefficients = loads(law_ptr + NUMBERS + 2, COEFFICIENTS)

    turn = (program - first_program).to(tl.int32)
    row = turn // programs_per_row
    turn -= row * programs_per_row
    out_ptr += row * row_pitch
    first += row.to(tl.uint64) * global_row_pitch
    fill_blocks(
        out_ptr, first, columns, turn, blocks_per_program,
        (s0, s1, k0, k1), Law(REGIME, CLAMP, LOG, *numbers, split, *bounds, coefficients),
        None, VECTOR, UNITS,
    )  # fmt: skip


@triton.jit
def loads(ptr, N: tl.constexpr):
    """N numbers in a row, as a tuple."""
    numbers = ()
    for k in tl.static_range(N):
        numbers = numbers + (tl.load(ptr + k),)
    return numbers
