"""Quotients without a division, which takes some twenty instructions on a GPU, and a call of a function in 64 bits."""

import triton
import triton.language as tl


@triton.jit
def quotient(number, multiplier, shift):
    """number // divisor, uint32, of a number < 2**31; fastinit.backends.division has the other two.

    Source: Granlund and Montgomery, "Division by Invariant Integers using Multiplication", 1994.
    """
    product = (number + number).to(tl.uint64) * multiplier.to(tl.uint32).to(tl.uint64)
    return ((product >> 32).to(tl.uint32) >> shift.to(tl.uint32)).to(tl.uint32)
