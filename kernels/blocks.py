"""Blocks of a row: a row is a run of consecutive global indices, whose elements lie side by side in memory.

A group is four neighbours, from one Philox call. A unit is VECTOR elements, of one or two groups, which one thread computes
and stores at once. A block is UNITS units, and begins at a multiple of its size in the *global* index, so that no counter
carries within it.
"""

import triton
import triton.language as tl

from .philox import M0, multiply_sum, multiply_wide, philox
from .quantile import FLANK, UNIFORM, bounded_value_of
from .rounding import has_twos, round_to


@triton.jit
def fill_blocks(
    out_ptr, first, columns,  # the row's first element; its global index, uint64; elements of the row, int64
    turn, log2_blocks,  # of the row's programs, this one's number, int64; it has 2**log2_blocks blocks
    key, law,
    LOOP: tl.constexpr,  # whether a program has more than one block
    ALIGNED: tl.constexpr,  # the row begins and ends at a multiple of VECTOR; None: each program's address is looked at
    VECTOR: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """One program's share of a row: the blocks of a span that begins at a multiple of its size in the global index."""
    SIZE: tl.constexpr = UNITS * VECTOR
    shift = log2_blocks.to(tl.uint64) if LOOP else 0
    block = ((first // SIZE >> shift) + turn.to(tl.uint64)) << shift
    # Where the span begins in the row: negative for a first one that begins before it.
    if ALIGNED:  # in whole vectors, as the compiler sees
        start = (block * UNITS - first // VECTOR).to(tl.int64) * VECTOR
    else:
        start = (block * SIZE - first).to(tl.int64)
    # From here on all is counted from the span's beginning, in 32 bits: from low to high it lies in the row.
    size = (SIZE << shift).to(tl.int64) if LOOP else SIZE
    low = tl.minimum(tl.maximum(-start, 0), size).to(tl.int32)
    high = tl.minimum(tl.maximum(columns - start, 0), size).to(tl.int32)
    if ALIGNED:  # the quotients tell the compiler that vectors are stored whole or not at all
        low, high = low // VECTOR * VECTOR, high // VECTOR * VECTOR
    last = high - SIZE  # where the last whole block begins
    if ALIGNED is None:
        last = tl.where((out_ptr + start).to(tl.int64) % 16 == 0, last, -1)
    element = tl.arange(0, SIZE)
    group = block * (SIZE // 4)
    counter, counter_high = group.to(tl.uint32), (group >> 32).to(tl.uint32)
    unit = tl.arange(0, UNITS).to(tl.uint32) * (VECTOR // 4)
    # Of the plainest law's 16-bit values a thread has so many at a time that ptxas spills some on sm_100.
    AGAIN: tl.constexpr = LOOP and not (VECTOR == 8 and law.REGIME == UNIFORM)

    for begin in range(low // SIZE * SIZE if LOOP else 0, high if LOOP else 1, SIZE):
        products = first_products((counter + begin // 4).to(tl.uint32), unit, AGAIN, VECTOR)
        values = unit_values(products, counter_high, key, law, VECTOR)
        values = round_to(values.reshape(SIZE), out_ptr.dtype.element_ty)
        block_ptr = out_ptr + (start + begin)
        if (begin >= low) & (begin <= last):
            tl.store((tl.multiple_of(block_ptr, 16) if ALIGNED is None else block_ptr) + element, values)
        elif ALIGNED:
            tl.store(block_ptr + element, values, mask=(begin + element >= low) & (begin + element < high))
        else:  # scalars first, as here each element has a mask of its own
            tl.store(block_ptr + element, values, mask=(element >= low - begin) & (element < high - begin))


@triton.jit
def first_products(counter, step, AGAIN: tl.constexpr, VECTOR: tl.constexpr):
    """What ``unit_values`` takes: of each unit's groups, the first one counter + step, the numbers times Philox's multiplier.

    AGAIN: other counters meet the same steps, so that it pays to hold what is made of these.
    """
    if AGAIN:
        first = multiply_sum(counter, step)
    else:
        first = multiply_wide(counter + step, M0)
    if VECTOR == 4:
        return (first,)
    elif AGAIN:
        return first, multiply_sum(counter, step + 1)
    else:
        return first, multiply_wide(counter + step + 1, M0)


@triton.jit
def unit_values(
    products, counter_high,  # of the numbers of each unit's groups: high and low word of the low word times M0; high word
    key, law,
    VECTOR: tl.constexpr,
):  # fmt: skip
    """The elements of units, in order; the joins leave those of a unit in one thread's registers."""
    v0, v1, v2, v3 = group_values(products[0], counter_high, key, law)
    if VECTOR == 8:
        x0, x1, x2, x3 = group_values(products[1], counter_high, key, law)
        v0, v1, v2, v3 = tl.join(v0, x0), tl.join(v1, x1), tl.join(v2, x2), tl.join(v3, x3)
    return interleaved(v0, v1, v2, v3)


@triton.jit
def interleaved(v0, v1, v2, v3):
    """The elements in turn, in two dimensions more."""
    return tl.join(tl.join(v0, v2), tl.join(v1, v3))


@triton.jit
def group_values(product, counter_high, key, law):
    """The four elements of groups, in fp32. ``key`` holds four words: of the stream, and of the seed."""
    w0, w1, w2, w3 = philox(*product, counter_high, *key)
    # Not with a single fma, nor with more coefficients than there are registers for two of each.
    if has_twos() and law.REGIME != UNIFORM and law.REGIME != FLANK:
        v0, v1 = tl.split(bounded_value_of(tl.join(w0, w1), law))
        v2, v3 = tl.split(bounded_value_of(tl.join(w2, w3), law))
    else:
        v0, v1 = bounded_value_of(w0, law), bounded_value_of(w1, law)
        v2, v3 = bounded_value_of(w2, law), bounded_value_of(w3, law)
    return v0, v1, v2, v3
