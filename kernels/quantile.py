"""Word -> value: the quantile function of a law, as a fixed sequence of IEEE fp32 operations (fastinit/lowering.py).

The result is fp32, before the bounds. Coefficients come lowest power first. ``EXACT_FMA`` is set where ``tl.fma`` rounds
twice, which is in the interpreter.
"""

import triton
import triton.language as tl

# The regimes, in the order of fastinit.lowering.Regime.
CONSTANT = tl.constexpr(0)
UNIFORM = tl.constexpr(1)
CENTRAL = tl.constexpr(2)
WIDE = tl.constexpr(3)
SKEW = tl.constexpr(4)
FAR = tl.constexpr(5)
NARROW = tl.constexpr(6)
# The step of WIDE's polynomial that multiplies by y: fastinit.quantile_table.WIDE_Y_STEP.
WIDE_Y_STEP = tl.constexpr(5)
# The bits of fastinit.lowering.Clamp.
BELOW = tl.constexpr(1)
ABOVE = tl.constexpr(2)
FLOOR = tl.constexpr(4)


@triton.jit
def fma(x, y, z, EXACT_FMA: tl.constexpr):
    """x * y + z, rounded once."""
    if EXACT_FMA:
        # The product is exact in fp64; the sum is rounded to odd there, which a second rounding cannot spoil.
        product = x.to(tl.float64) * y.to(tl.float64)
        addend = z.to(tl.float64)
        total = product + addend
        back = total - product
        error = (product - (total - back)) + (addend - back)
        bits = total.to(tl.int64, bitcast=True)
        odd = tl.where((error > 0) == (total > 0), bits + 1, bits - 1)
        bits = tl.where((error != 0) & ((bits & 1) == 0), odd, bits)
        return bits.to(tl.float64, bitcast=True).to(tl.float32)
    else:
        return tl.fma(x, y, z)


@triton.jit
def polynomial(t, coefficients, EXACT_FMA: tl.constexpr):
    """Horner's scheme."""
    DEGREE: tl.constexpr = len(coefficients) - 1
    value = fma(t, as_like(coefficients[DEGREE], t), as_like(coefficients[DEGREE - 1], t), EXACT_FMA)
    for k in tl.static_range(DEGREE - 1):
        value = fma(value, t, as_like(coefficients[DEGREE - 2 - k], t), EXACT_FMA)
    return value


@triton.jit
def wide_polynomial(t, y, coefficients, EXACT_FMA: tl.constexpr):
    """Horner's scheme, of which one step, counted from the last, multiplies by y."""
    DEGREE: tl.constexpr = len(coefficients) - 1
    value = fma(t, as_like(coefficients[DEGREE], t), as_like(coefficients[DEGREE - 1], t), EXACT_FMA)
    for k in tl.static_range(DEGREE - 1):
        factor = y if DEGREE - 1 - k == WIDE_Y_STEP else t
        value = fma(value, factor, as_like(coefficients[DEGREE - 2 - k], t), EXACT_FMA)
    return value


@triton.jit
def as_like(scalar, t):
    """The scalar as an fp32 tensor of t's shape."""
    return tl.full(t.shape, scalar, tl.float32)


@triton.jit
def raw_log2(bits, line, BUMP: tl.constexpr, EXACT_FMA: tl.constexpr):
    """From the bits of a float < 2, whose integer is a log2 that lacks a bump m * BUMP(m) of the mantissa m, and those bits
    as an fp32 number, in BUMP's units."""
    mantissa = (bits | 0x3F800000).to(tl.float32, bitcast=True)  # sets all of the exponent but its highest bit
    return fma(mantissa, polynomial(mantissa, BUMP, EXACT_FMA), line, EXACT_FMA)


@triton.jit
def log2(y, origin, RATIO: tl.constexpr, EXACT_FMA: tl.constexpr):
    """log2(y) + origin, accurate near y = 1: the mantissa is taken in [3/4, 3/2)."""
    bits = y.to(tl.int32, bitcast=True)
    exponent = (bits - 0x3F400000) >> 23
    fraction = (bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1.0
    line = exponent.to(tl.float32) + origin
    return fma(fraction, polynomial(fraction, RATIO, EXACT_FMA), line, EXACT_FMA)


@triton.jit
def end_distance(r, right):
    """Words between r and its end of the law, uint32, counted from the right end where ``right``."""
    return (r ^ tl.where(right, 0x7FFFFFFF, -0x80000000).to(tl.int32)).to(tl.uint32, bitcast=True)


@triton.jit
def value_of(
    word,  # uint32
    coefficients, scale, offset, offset_right, gain, shift, origin, split,  # of Lowered
    lowest,  # the floor of y, if there is one
    REGIME: tl.constexpr, CLAMP: tl.constexpr, LOG: tl.constexpr, EXACT_FMA: tl.constexpr,
):  # fmt: skip
    r = word.to(tl.int32, bitcast=True)
    if REGIME == CONSTANT:
        return as_like(shift, r)
    elif REGIME == UNIFORM:
        n = (word ^ 0x80000000).to(tl.uint32)
        return fma(n.to(tl.float32), as_like(scale, r), as_like(offset, r), EXACT_FMA)
    elif REGIME == NARROW:
        t = fma(r.to(tl.float32), as_like(2.0**-31, r), as_like(2.0**-32, r), EXACT_FMA)
        return polynomial(t, coefficients, EXACT_FMA) + shift
    elif REGIME == CENTRAL:
        x = fma(r.to(tl.float32), as_like(scale, r), as_like(offset, r), EXACT_FMA)
        y = fma(-x, x, as_like(origin, r), EXACT_FMA)
        if FLOOR & CLAMP:
            y = tl.maximum(y, lowest)
        bits = y.to(tl.int32, bitcast=True)
        t = raw_log2(bits, bits.to(tl.float32), LOG, EXACT_FMA)
        return fma(x, polynomial(t, coefficients, EXACT_FMA), as_like(shift, r), EXACT_FMA)
    elif REGIME == FAR:
        n = end_distance(r, r.to(tl.int64) >= split)
        v = fma(n.to(tl.float32), as_like(scale, r), as_like(offset, r), EXACT_FMA)
        return polynomial(log2(v, origin, LOG, EXACT_FMA), coefficients, EXACT_FMA) + shift
    elif REGIME == WIDE:
        n = (r ^ (r >> 31)) ^ 0x7FFFFFFF
        tail = fma(n.to(tl.float32), as_like(scale, r), as_like(offset, r), EXACT_FMA)
        y = fma(-tail, tail, tail, EXACT_FMA)
        bits = y.to(tl.int32, bitcast=True)
        line = fma(bits.to(tl.float32), as_like(2.0**-23, r), as_like(origin, r), EXACT_FMA)
        t = raw_log2(bits, line, LOG, EXACT_FMA)
        x = from_tail(tail, gain, r & -0x80000000, EXACT_FMA)
        return fma(x, wide_polynomial(t, y, coefficients, EXACT_FMA), as_like(shift, r), EXACT_FMA)
    else:
        right = r.to(tl.int64) >= split
        n = end_distance(r, right)
        tail = fma(n.to(tl.float32), as_like(scale, r), tl.where(right, offset_right, offset), EXACT_FMA)
        t = log2(fma(-tail, tail, tail, EXACT_FMA), origin, LOG, EXACT_FMA)
        x = from_tail(tail, gain, tl.where(right, 0, -0x80000000).to(tl.int32), EXACT_FMA)
        return fma(x, polynomial(t, coefficients, EXACT_FMA), as_like(shift, r), EXACT_FMA)


@triton.jit
def from_tail(tail, gain, sign, EXACT_FMA: tl.constexpr):
    """gain * (1 - 2 tail), with the sign bit of the left tail."""
    x = fma(tail, as_like(-2.0 * gain, tail), as_like(gain, tail), EXACT_FMA)
    return (x.to(tl.int32, bitcast=True) ^ sign).to(tl.float32, bitcast=True)


@triton.jit
def bounded_value_of(
    word,
    coefficients, scale, offset, offset_right, gain, shift, origin, split,
    lowest, highest,  # the dtype's interval, or the floor of y
    REGIME: tl.constexpr, CLAMP: tl.constexpr, LOG: tl.constexpr, EXACT_FMA: tl.constexpr,
):  # fmt: skip
    """The value within the bounds, in fp32. They are values of the tensor's dtype, so rounding to it keeps them."""
    value = value_of(
        word, coefficients, scale, offset, offset_right, gain, shift, origin, split, lowest,
        REGIME, CLAMP, LOG, EXACT_FMA,
    )  # fmt: skip
    if BELOW & CLAMP:
        value = tl.maximum(value, lowest)
    if ABOVE & CLAMP:
        value = tl.minimum(value, highest)
    return value


@triton.jit
def round_to(value, DTYPE: tl.constexpr, EXACT: tl.constexpr):
    """fp32 rounded to nearest even; the interpreter's own cast to bf16 truncates."""
    if EXACT and DTYPE == tl.bfloat16:
        bits = value.to(tl.uint32, bitcast=True)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).to(tl.uint16).to(DTYPE, bitcast=True)
    else:
        return value.to(DTYPE)
