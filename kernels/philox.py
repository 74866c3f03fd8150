"""Philox4x32: the words. Scalars stay scalars as long as they can, so that what a block has in common is computed once."""

import triton
import triton.language as tl


@triton.jit
def multiply_wide(a, MULTIPLIER: tl.constexpr):
    """High and low word of a 32 x 32 bit product; a 64-bit product compiles to one instruction."""
    product = a.to(tl.uint64) * MULTIPLIER
    return (product >> 32).to(tl.uint32), product.to(tl.uint32)


@triton.jit
def philox_round(c0, c1, c2, c3, k0, k1):
    # In parentheses, what is scalar in the first two rounds, and so computed once for all counters.
    high0, low0 = multiply_wide(c0, 0xD2511F53)
    high1, low1 = multiply_wide(c2, 0xCD9E8D57)
    return high1 ^ (c1 ^ k0), low1, high0 ^ (c3 ^ k1), low0


@triton.jit
def philox(
    c0, c1, c2, c3,  # counter words, uint32, low word first
    k0, k1,  # key words, uint32
    ROUNDS: tl.constexpr = 10,
):  # fmt: skip
    """The four words of a counter under a key."""
    for _ in tl.static_range(ROUNDS):
        c0, c1, c2, c3 = philox_round(c0, c1, c2, c3, k0, k1)
        k0 = (k0 + 0x9E3779B9).to(tl.uint32)
        k1 = (k1 + 0xBB67AE85).to(tl.uint32)
    return c0, c1, c2, c3


@triton.jit
def philox_test_entry(
    out_ptr,  # (n, 4) uint32
    counter_ptr, key_ptr,  # (n, 4) and (n, 2) uint32
    n,
    ROUNDS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Known answers need counters that no element index reaches."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = row < n
    c0 = tl.load(counter_ptr + row * 4, mask=inside)
    c1 = tl.load(counter_ptr + row * 4 + 1, mask=inside)
    c2 = tl.load(counter_ptr + row * 4 + 2, mask=inside)
    c3 = tl.load(counter_ptr + row * 4 + 3, mask=inside)
    k0 = tl.load(key_ptr + row * 2, mask=inside)
    k1 = tl.load(key_ptr + row * 2 + 1, mask=inside)
    w0, w1, w2, w3 = philox(c0, c1, c2, c3, k0, k1, ROUNDS)
    tl.store(out_ptr + row * 4, w0, mask=inside)
    tl.store(out_ptr + row * 4 + 1, w1, mask=inside)
    tl.store(out_ptr + row * 4 + 2, w2, mask=inside)
    tl.store(out_ptr + row * 4 + 3, w3, mask=inside)
