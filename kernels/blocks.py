"""Blocks of a row: a row is a run of consecutive global indices, whose elements lie side by side in memory.

A group is four neighbours, from one Philox call. A unit is VECTOR elements, of one or two groups, which one thread computes
and stores at once. A block is UNITS units, and begins at a multiple of its size in the *global* index, so that no counter
carries within it.
"""

import triton
import triton.language as tl

from .philox import philox
from .quantile import bounded_value_of
from .rounding import round_to


@triton.jit
def fill_blocks(
    out_ptr, first, columns,  # the row's first element; its global index, uint64; elements of the row, int64
    turn, blocks,  # of the row's programs, this one's number, int64; blocks that it fills
    key, law,
    LOOP: tl.constexpr,  # whether a program fills more than one block
    ALIGNED: tl.constexpr,  # the row begins and ends at a multiple of VECTOR; None: each block's address is looked at
    VECTOR: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """One program's share of a row."""
    SIZE: tl.constexpr = UNITS * VECTOR
    # In units of SIZE elements of the global index; only the first and the last block of a row can be partial.
    block = first // SIZE + turn.to(tl.uint64) * blocks.to(tl.uint32).to(tl.uint64)
    # Where the block begins in the row: negative for a first block that begins before it.
    if ALIGNED:  # in whole vectors, as the compiler sees
        start = (block * UNITS - first // VECTOR).to(tl.int64) * VECTOR
    else:
        start = (block * SIZE - first).to(tl.int64)
    element = tl.arange(0, SIZE)
    lane = tl.arange(0, UNITS).to(tl.uint32) * (VECTOR // 4)

    for _ in range(blocks if LOOP else 1):
        group = block * (SIZE // 4)
        values = unit_values(group.to(tl.uint32) + lane, (group >> 32).to(tl.uint32), key, law, VECTOR)
        values = round_to(values.reshape(SIZE), out_ptr.dtype.element_ty)
        block_ptr = out_ptr + start
        whole = (start >= 0) & (start + SIZE <= columns)
        if ALIGNED is None:
            whole &= block_ptr.to(tl.int64) % 16 == 0
        if whole:
            tl.store((tl.multiple_of(block_ptr, 16) if ALIGNED is None else block_ptr) + element, values)
        else:
            low = tl.minimum(tl.maximum(-start, 0), SIZE).to(tl.int32)
            high = tl.minimum(tl.maximum(columns - start, 0), SIZE).to(tl.int32)
            if ALIGNED:  # the quotients tell the compiler that vectors are stored whole or not at all
                low, high = low // VECTOR * VECTOR, high // VECTOR * VECTOR
            tl.store(block_ptr + element, values, mask=(element >= low) & (element < high))
        block += 1
        start += SIZE


@triton.jit
def unit_values(
    counter, counter_high,  # uint32: (UNITS,) first groups of the units, and a scalar
    key, law,
    VECTOR: tl.constexpr,
):  # fmt: skip
    """The elements of units, in order; the joins leave those of a unit in one thread's registers."""
    v0, v1, v2, v3 = group_values(counter, counter_high, key, law)
    if VECTOR == 8:
        x0, x1, x2, x3 = group_values(counter + 1, counter_high, key, law)
        v0, v1, v2, v3 = tl.join(v0, x0), tl.join(v1, x1), tl.join(v2, x2), tl.join(v3, x3)
    return interleaved(v0, v1, v2, v3)


@triton.jit
def interleaved(v0, v1, v2, v3):
    """The elements in turn, in two dimensions more."""
    return tl.join(tl.join(v0, v2), tl.join(v1, v3))


@triton.jit
def group_values(counter, counter_high, key, law):
    """The four elements of groups, in fp32. ``key`` holds four words: of the stream, and of the seed."""
    w0, w1, w2, w3 = philox(counter, counter_high, *key)
    return bounded_value_of(w0, law), bounded_value_of(w1, law), bounded_value_of(w2, law), bounded_value_of(w3, law)
