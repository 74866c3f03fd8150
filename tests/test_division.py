"""Quotients by multiplication: of the kernels, and the numbers that the host gives them."""

import numpy as np
import torch
import triton
import triton.language as tl
from interpreted import backend

from fastinit.backends.division import reciprocal
from fastinit.kernels.division import quotient

assert backend.INTERPRETED
LAST = 2**31 - 1
DIVISORS = sorted({1, 2, 3, 7, 641, *(2**k + d for k in range(2, 31) for d in (-1, 0, 1)), LAST - 1, LAST})


@triton.jit
def quotients(out_ptr, number_ptr, multiplier, shift, BLOCK: tl.constexpr):
    k = tl.arange(0, BLOCK)
    tl.store(out_ptr + k, quotient(tl.load(number_ptr + k), multiplier, shift))


def numbers_near_multiples(divisor: int) -> list[int]:
    """The largest and the smallest of some quotients, and the greatest numbers of all: where an error would show."""
    multiples = [n * divisor for n in (0, 1, 2, 3, 1000, LAST // divisor - 1, LAST // divisor)]
    near = [multiple + d for multiple in multiples for d in (-1, 0, 1)] + [LAST - 1, LAST]
    return [min(max(n, 0), LAST) for n in near]


def test_quotients_are_exact():
    for divisor in DIVISORS:
        multiplier, shift = reciprocal(divisor)
        assert 0 <= multiplier < 2**32
        numbers = numbers_near_multiples(divisor)
        got = torch.zeros(32, dtype=torch.uint32)
        given = torch.tensor(numbers + [0] * (32 - len(numbers))).to(torch.uint32)
        quotients[(1,)](got, given, multiplier, shift, BLOCK=32)
        assert got.tolist()[: len(numbers)] == [n // divisor for n in numbers], divisor


def test_the_error_is_too_small_for_any_number():
    """The proof in the docstring: 2**(31 + shift) < multiplier * divisor <= 2**(31 + shift) + 2**shift."""
    for divisor in DIVISORS:
        multiplier, shift = reciprocal(divisor)
        assert 0 < multiplier * divisor - 2 ** (31 + shift) <= 2**shift


def test_arrays_are_as_numbers():
    multiplier, shift = reciprocal(np.array(DIVISORS))
    assert list(zip(multiplier.tolist(), shift.tolist(), strict=True)) == [reciprocal(divisor) for divisor in DIVISORS]
