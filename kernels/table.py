"""Fill of many runs and rows of consecutive global indices in one launch, each described by a row of a table.

A program looks up its row, and fills blocks of it as linear.py does. Numbers that differ from tensor to tensor come from
memory, so pointers carry no hint of their alignment: a row says of itself whether vectors may be stored.
"""

import triton
import triton.language as tl

from .linear import unit_values
from .quantile import round_to

# The columns of the table of rows, int64, and of the table of laws, fp32, where the coefficients follow.
ROW_FIELDS = tl.constexpr(12)
LAW_FIELDS = tl.constexpr(8)


@triton.jit
def fill_table(
    rows_ptr, laws_ptr,  # (rows, ROW_FIELDS) int64, (laws, LAW_FIELDS + COEFFICIENTS) fp32
    row_of_program_ptr,  # (programs,) int32
    DTYPE: tl.constexpr,  # of the tensors
    REGIME: tl.constexpr, CLAMP: tl.constexpr, LOG: tl.constexpr, EXACT_FMA: tl.constexpr,
    COEFFICIENTS: tl.constexpr,  # how many
    VECTOR: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    SIZE: tl.constexpr = UNITS * VECTOR
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

    law_ptr = laws_ptr + law * (LAW_FIELDS + COEFFICIENTS)
    scale = tl.load(law_ptr)
    offset = tl.load(law_ptr + 1)
    offset_right = tl.load(law_ptr + 2)
    gain = tl.load(law_ptr + 3)
    shift = tl.load(law_ptr + 4)
    origin = tl.load(law_ptr + 5)
    lowest = tl.load(law_ptr + 6)
    highest = tl.load(law_ptr + 7)
    coefficients = ()
    for k in tl.static_range(COEFFICIENTS):
        coefficients = coefficients + (tl.load(law_ptr + LAW_FIELDS + k),)

    turn = (program - first_program).to(tl.int32)
    row = turn // programs_per_row
    turn -= row * programs_per_row
    out_ptr += row * row_pitch
    first += row.to(tl.uint64) * global_row_pitch

    # From here on as in linear.py.
    block = first // SIZE + turn.to(tl.uint64) * blocks_per_program.to(tl.uint64)
    start = (block * SIZE - first).to(tl.int64)
    element = tl.arange(0, SIZE)
    lane = tl.arange(0, UNITS).to(tl.uint32) * (VECTOR // 4)
    for _ in range(blocks_per_program):
        group = block * (SIZE // 4)
        values = unit_values(
            group.to(tl.uint32) + lane, (group >> 32).to(tl.uint32), s0, s1, k0, k1,
            coefficients, scale, offset, offset_right, gain, shift, origin, split, lowest, highest,
            VECTOR, REGIME, CLAMP, LOG, EXACT_FMA,
        )  # fmt: skip
        values = round_to(values.reshape(SIZE), DTYPE, EXACT_FMA)
        block_ptr = out_ptr + start
        full = (start >= 0) & (start + SIZE <= columns)
        if full & (block_ptr.to(tl.int64) % 16 == 0):
            tl.store(tl.multiple_of(block_ptr, 16) + element, values)
        else:
            low = tl.minimum(tl.maximum(-start, 0), SIZE).to(tl.int32)
            high = tl.minimum(tl.maximum(columns - start, 0), SIZE).to(tl.int32)
            tl.store(block_ptr + element, values, mask=(element >= low) & (element < high))
        block += 1
        start += SIZE
