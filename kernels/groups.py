"""Four neighbours at a time: one Philox call gives the elements of a group."""

import triton
import triton.language as tl

from .philox import philox
from .quantile import bounded_value_of


@triton.jit
def group_values(
    counter, counter_high, s0, s1, k0, k1,
    coefficients, scale, offset, offset_right, gain, shift, origin, split, lowest, highest,
    REGIME: tl.constexpr, CLAMP: tl.constexpr, LOG: tl.constexpr, EXACT_FMA: tl.constexpr,
):  # fmt: skip
    """The four elements of groups, in fp32."""
    w0, w1, w2, w3 = philox(counter, counter_high, s0, s1, k0, k1)
    v0 = bounded_value_of(
        w0, coefficients, scale, offset, offset_right, gain, shift, origin, split, lowest, highest,
        REGIME, CLAMP, LOG, EXACT_FMA,
    )  # fmt: skip
    v1 = bounded_value_of(
        w1, coefficients, scale, offset, offset_right, gain, shift, origin, split, lowest, highest,
        REGIME, CLAMP, LOG, EXACT_FMA,
    )  # fmt: skip
    v2 = bounded_value_of(
        w2, coefficients, scale, offset, offset_right, gain, shift, origin, split, lowest, highest,
        REGIME, CLAMP, LOG, EXACT_FMA,
    )  # fmt: skip
    v3 = bounded_value_of(
        w3, coefficients, scale, offset, offset_right, gain, shift, origin, split, lowest, highest,
        REGIME, CLAMP, LOG, EXACT_FMA,
    )  # fmt: skip
    return v0, v1, v2, v3
