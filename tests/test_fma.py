"""The fused multiply-adds of the reference and of the interpreted kernels, against exact fractions."""

from fractions import Fraction

import interpreted
import numpy as np
import torch
import triton
import triton.language as tl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastinit import reference
from fastinit.kernels.rounding import fma as kernel_fma

floats = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**60), max_value=2.0**60)
E15, ODD = 2.0**-15, 1 + 2.0**-23


@triton.jit
def fma_kernel(out_ptr, x_ptr, y_ptr, z_ptr, N: tl.constexpr):
    k = tl.arange(0, N)
    tl.store(out_ptr + k, kernel_fma(tl.load(x_ptr + k), tl.load(y_ptr + k), tl.load(z_ptr + k)))


def rounded_once(x: float, y: float, z: float) -> float:
    """The fp32 nearest to the exact x * y + z: the candidates around fp64's answer, compared as fractions."""
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    near = np.float32(float(exact))
    candidates = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    finite = [c for c in candidates if np.isfinite(c)]
    return float(min(finite, key=lambda c: (abs(Fraction(float(c)) - exact), int(c.view(np.uint32)) & 1)))


# fp64's sum is the midpoint of two fp32 values, and the exact one lies just beside it: both sides, both parities.
@example(2.0**-12 * (1 + E15), 2.0**-12 * (1 - E15), ODD)
@example(2.0**-12 * (1 + E15), -(2.0**-12) * (1 - E15), -ODD)
@example(2.0**-12 * (1 + E15), -(2.0**-12) * (1 - E15), 1 + 2.0**-22)
@example(2.0**-80, 2.0**-60, 2.0**-127)  # below the normal range
@example(2.0**-75 * ODD, 2.0**-75, 2.0**-149)
@settings(max_examples=300)
@given(floats, floats, floats)
def test_one_rounding(x, y, z):
    expected = rounded_once(x, y, z)
    wide = [torch.tensor([v, 1.0], dtype=torch.float64) for v in (x, y, z)]
    assert reference.fma(*wide)[0].item() == expected
    single = [w.float() for w in wide]
    out = torch.empty(2)
    fma_kernel[(1,)](out, *single, N=2)
    assert out[0].item() == expected


def test_the_kernels_are_the_interpreters():
    assert interpreted.backend.INTERPRETED
