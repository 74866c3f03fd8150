"""Fill of many runs and rows of consecutive global indices in one launch, each described by a row of a table.

A program looks up its row, and fills blocks of it as linear.py does. Numbers that differ from tensor to tensor come from
memory, so pointers carry no hint of their alignment: a block's address says whether vectors may be stored.
"""

import triton
import triton.language as tl

from .blocks import fill_blocks
from .division import quotient
from .law import Law

ROW_FIELDS = tl.constexpr(11)  # the columns of the table of rows
NUMBERS = tl.constexpr(6)  # of the table of laws, the columns before the two bounds and the coefficients


@triton.jit
def fill_table(
    rows_ptr,  # (rows, ROW_FIELDS) int64, of which some are two uint32, low word first
    laws_ptr,  # (laws, NUMBERS + 2 + COEFFICIENTS, and one more where that is odd) fp32
    row_of_program_ptr,  # (programs,) int32
    REGIME: tl.constexpr, CLAMP: tl.constexpr, SIDE: tl.constexpr, LOG: tl.constexpr,  # of Law
    COEFFICIENTS: tl.constexpr,  # how many
    DTYPE: tl.constexpr,  # of the tensors
    LOOP: tl.constexpr,  # whether a program fills more than one block
    VECTOR: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    row_ptr = rows_ptr + tl.load(row_of_program_ptr + program).to(tl.int64) * ROW_FIELDS
    out_ptr = tl.load(row_ptr).to(tl.pointer_type(DTYPE))
    row_pitch = tl.load(row_ptr + 1)
    first = tl.load(row_ptr + 2).to(tl.uint64)
    global_row_pitch = tl.load(row_ptr + 3).to(tl.uint64)
    columns = tl.load(row_ptr + 4)
    programs_per_row, log2_blocks = words(row_ptr + 5)
    multiplier, shift = words(row_ptr + 6)  # to divide by programs_per_row
    first_program, law = words(row_ptr + 7)
    split = tl.load(row_ptr + 8).to(tl.int32)
    # Word by word: LLVM would widen to 64 bits what it knows to be halves of 64-bit numbers.
    words_ptr = (row_ptr + 9).to(tl.pointer_type(tl.uint32))
    k0, k1 = tl.load(words_ptr), tl.load(words_ptr + 1)
    s0, s1 = tl.load(words_ptr + 2), tl.load(words_ptr + 3)
    law_ptr = laws_ptr + law.to(tl.int64) * ((NUMBERS + 2 + COEFFICIENTS + 1) // 2 * 2)
    numbers = pairs(law_ptr, NUMBERS)
    bounds = pairs(law_ptr + NUMBERS, 2)
    coefficients = pairs(law_ptr + NUMBERS + 2, COEFFICIENTS)

    turn = program.to(tl.uint32) - first_program
    row = quotient(turn, multiplier, shift)
    turn -= row * programs_per_row
    out_ptr += row.to(tl.int64) * row_pitch
    first += row.to(tl.uint64) * global_row_pitch
    fill_blocks(
        out_ptr, first, columns, turn.to(tl.int64), log2_blocks,
        (s0, s1, k0, k1), Law(REGIME, CLAMP, SIDE, LOG, *numbers, split, *bounds, coefficients),
        LOOP, None, VECTOR, UNITS,
    )  # fmt: skip


@triton.jit
def words(ptr):
    """The low and the high word of a 64-bit number."""
    number = tl.load(ptr).to(tl.uint64)
    return number.to(tl.uint32), (number >> 32).to(tl.uint32)


@triton.jit
def pairs(ptr, N: tl.constexpr):
    """N fp32 numbers in a row, as a tuple, two in one load."""
    numbers = ()
    for k in tl.static_range((N + 1) // 2):
        low, high = words((ptr + 2 * k).to(tl.pointer_type(tl.int64)))
        numbers = numbers + (low.to(tl.float32, bitcast=True),)
        if 2 * k + 1 < N:
            numbers = numbers + (high.to(tl.float32, bitcast=True),)
    return numbers
