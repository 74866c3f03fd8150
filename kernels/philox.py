"""Philox4x32: the words. Scalars stay scalars as long as they can, so that what a block has in common is computed once."""

import triton
import triton.language as tl
from triton.language.target_info import is_cuda

M0, M1 = tl.constexpr(0xD2511F53), tl.constexpr(0xCD9E8D57)


@triton.jit
def multiply_wide(a, MULTIPLIER: tl.constexpr):
    """High and low word of a 32 x 32 bit product; a 64-bit product compiles to one instruction."""
    return words_of(a.to(tl.uint64) * MULTIPLIER)


@triton.jit
def words_of(number):
    return (number >> 32).to(tl.uint32), number.to(tl.uint32)


if isinstance(words_of, triton.JITFunction):

    @triton.jit
    def multiply_sum(base, step):
        """High and low word of (base + step) * M0, where the sum does not carry, for many bases and the same steps.

        In assembly, as LLVM would make one product of the two, and ptxas two sums of the base's.
        """
        if is_cuda():
            return tl.inline_asm_elementwise(
                """
                {
                .reg .b64 %wide<2>;
                mul.wide.u32 %wide0, $3, 0xD2511F53;
                mad.wide.u32 %wide1, $2, 0xD2511F53, %wide0;
                mov.b64 {$1, $0}, %wide1;
                }
                """,
                "=r,=r,r,r", [tl.full(step.shape, base, tl.uint32), step],
                dtype=(tl.uint32, tl.uint32), is_pure=True, pack=1,
            )  # fmt: skip
        else:
            return multiply_wide(base + step, M0)

else:

    def multiply_sum(base, step):
        return multiply_wide(base + step, M0)


@triton.jit
def philox(
    high0, low0,  # the counter's first word, times M0
    c1, c2, c3,  # its other words, uint32
    k0, k1,  # key words, uint32
    ROUNDS: tl.constexpr = 10,
):  # fmt: skip
    """The four words of a counter under a key."""
    for turn in tl.static_range(ROUNDS):
        high1, low1 = multiply_wide(c2, M1)
        # In parentheses, what is scalar in the first three rounds, and so computed once for all counters.
        mixed = (high0 ^ k1) ^ c3 if turn == 1 else high0 ^ (c3 ^ k1)
        c0, c1, c2, c3 = high1 ^ (c1 ^ k0), low1, mixed, low0
        high0, low0 = multiply_wide(c0, M0)
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
    w0, w1, w2, w3 = philox(*multiply_wide(c0, M0), c1, c2, c3, k0, k1, ROUNDS)
    tl.store(out_ptr + row * 4, w0, mask=inside)
    tl.store(out_ptr + row * 4 + 1, w1, mask=inside)
    tl.store(out_ptr + row * 4 + 2, w2, mask=inside)
    tl.store(out_ptr + row * 4 + 3, w3, mask=inside)
