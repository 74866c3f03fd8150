"""Word -> value: the quantile function of a law, as a fixed sequence of IEEE fp32 operations (fastinit/law/lowering.py).

The result is fp32, before the bounds. Coefficients come lowest power first.
"""

import triton
import triton.language as tl

from .rounding import as_like, both_signs, fma

# The regimes, in the order of fastinit.law.lowered.Regime.
CONSTANT = tl.constexpr(0)
UNIFORM = tl.constexpr(1)
CENTRAL = tl.constexpr(2)
WIDE = tl.constexpr(3)
SKEW = tl.constexpr(4)
FLANK = tl.constexpr(5)
FAR = tl.constexpr(6)
NARROW = tl.constexpr(7)
# As fastinit.law.quantile_table has them: the steps that multiply by y, and what SKEW's log is taken from behind that one.
WIDE_Y_STEP, SKEW_Y_STEP, SKEW_CENTRE = tl.constexpr(5), tl.constexpr(6), tl.constexpr(-16.0)
# On which side of the split the words lie. Where they lie on both, it is an integer of 32 bits.
BOTH, LEFT, RIGHT = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
# The bits of fastinit.law.lowered.Clamp.
BELOW = tl.constexpr(1)
ABOVE = tl.constexpr(2)
FLOOR = tl.constexpr(4)


@triton.jit
def polynomial(t, coefficients):
    """Horner's scheme."""
    DEGREE: tl.constexpr = len(coefficients) - 1
    value = fma(t, as_like(coefficients[DEGREE], t), as_like(coefficients[DEGREE - 1], t))
    for k in tl.static_range(DEGREE - 1):
        value = fma(value, t, as_like(coefficients[DEGREE - 2 - k], t))
    return value


@triton.jit
def polynomial_with_y(inner, y, t, coefficients, Y_STEP: tl.constexpr):
    """Horner's scheme, of which one step, counted from the last, multiplies by y, those before it by ``inner``, the rest by t."""
    DEGREE: tl.constexpr = len(coefficients) - 1
    value = fma(inner, as_like(coefficients[DEGREE], t), as_like(coefficients[DEGREE - 1], t))
    for k in tl.static_range(DEGREE - 1):
        factor = inner if DEGREE - 1 - k > Y_STEP else y if DEGREE - 1 - k == Y_STEP else t
        value = fma(value, factor, as_like(coefficients[DEGREE - 2 - k], t))
    return value


@triton.jit
def raw_log2(bits, line, BUMP: tl.constexpr):
    """From the bits of a float < 2, whose integer is a log2 that lacks a bump m * BUMP(m) of the mantissa m, and those bits
    as an fp32 number, in BUMP's units."""
    mantissa = (bits | 0x3F800000).to(tl.float32, bitcast=True)  # sets all of the exponent but its highest bit
    return fma(mantissa, polynomial(mantissa, BUMP), line)


@triton.jit
def log2(y, origin, RATIO: tl.constexpr, WHOLE: tl.constexpr):
    """log2(y) + origin, accurate near y = 1: the mantissa is taken in [3/4, 3/2). WHOLE: the origin is an integer."""
    bits = y.to(tl.int32, bitcast=True)
    power = (0x7F3FFFFF - bits) & -0x800000  # the bits of 2**-exponent, an integer in units of 2**-23
    fraction = fma(y, power.to(tl.float32, bitcast=True), as_like(-1.0, y))  # exact, as all up to the line is
    if WHOLE:
        line = fma(power.to(tl.float32), as_like(-(2.0**-23), y), as_like(origin + 127.0, y))
    else:
        line = plus(fma(power.to(tl.float32), as_like(-(2.0**-23), y), as_like(127.0, y)), origin)
    return fma(fraction, polynomial(fraction, RATIO), line)


@triton.jit
def plus(t, scalar):
    """The sum, rounded once; as an fma, of which two may be one instruction, and which is else compiled to a sum."""
    return fma(t, as_like(1.0, t), as_like(scalar, t))


@triton.jit
def value_of(word, law):
    """The value of a word, uint32, before the bounds."""
    r = word.to(tl.int32, bitcast=True)
    if law.REGIME == CONSTANT:
        return as_like(law.shift, r)
    elif law.REGIME == UNIFORM:
        n = (word ^ 0x80000000).to(tl.uint32)
        return fma(n.to(tl.float32), as_like(law.scale, r), as_like(law.offset, r))
    elif law.REGIME == NARROW:
        t = fma(r.to(tl.float32), as_like(2.0**-31, r), as_like(2.0**-32, r))
        return plus(polynomial(t, law.coefficients), law.shift)
    elif law.REGIME == CENTRAL:
        x, minus_x = both_signs(r.to(tl.float32), law.scale, law.offset)
        y = fma(minus_x, x, as_like(law.origin, r))
        if FLOOR & law.CLAMP:
            y = tl.maximum(y, law.lowest)
        bits = y.to(tl.int32, bitcast=True)
        t = raw_log2(bits, bits.to(tl.float32), law.LOG)
        return fma(x, polynomial(t, law.coefficients), as_like(law.shift, r))
    elif law.REGIME == FAR:
        n = (r ^ end_of(r, law)).to(tl.uint32, bitcast=True)
        v = fma(n.to(tl.float32), as_like(law.scale, r), as_like(law.offset, r))
        return plus(polynomial(log2(v, law.origin, law.LOG, False), law.coefficients), law.shift)
    elif law.REGIME == WIDE:
        n = (r ^ (r >> 31)) ^ 0x7FFFFFFF
        tail, minus_tail = both_signs(n.to(tl.float32), law.scale, law.offset)
        y = fma(minus_tail, tail, tail)
        bits = y.to(tl.int32, bitcast=True)
        line = fma(bits.to(tl.float32), as_like(2.0**-23, r), as_like(law.origin, r))
        t = raw_log2(bits, line, law.LOG)
        x = from_tail(tail, law.gain, r & -0x80000000)
        return fma(x, polynomial_with_y(t, y, t, law.coefficients, WIDE_Y_STEP), as_like(law.shift, r))
    else:
        end = end_of(r, law)
        n = (r ^ end).to(tl.uint32, bitcast=True).to(tl.float32)
        if law.SIDE == BOTH:
            tail = fma(n, as_like(law.scale, r), tl.where(end < 0, law.offset, law.offset_right))
            minus_tail = tail * -1.0
        else:
            tail, minus_tail = both_signs(n, law.scale, law.offset_right if law.SIDE == RIGHT else law.offset)
        y = fma(minus_tail, tail, tail)
        log = log2(y, law.origin, law.LOG, True)
        if law.REGIME == SKEW:
            factor = polynomial_with_y(log, y, plus(log, -SKEW_CENTRE), law.coefficients, SKEW_Y_STEP)
        else:
            factor = polynomial(log, law.coefficients)
        x = from_tail(tail, law.gain, end & -0x80000000)
        return fma(x, factor, as_like(law.shift, r))


@triton.jit
def end_of(r, law):
    """The last word on r's side of the split: what r differs by from it, in bits, is how many words lie beyond r."""
    if law.SIDE == BOTH:
        return tl.where(r >= law.split, 0x7FFFFFFF, -0x80000000).to(tl.int32)
    else:
        return tl.full(r.shape, 0x7FFFFFFF if law.SIDE == RIGHT else -0x80000000, tl.int32)


@triton.jit
def from_tail(tail, gain, sign):
    """gain * (1 - 2 tail), with the sign bit of the left tail."""
    x = fma(tail, as_like(-2.0 * gain, tail), as_like(gain, tail))
    return (x.to(tl.int32, bitcast=True) ^ sign).to(tl.float32, bitcast=True)


@triton.jit
def bounded_value_of(word, law):
    """The value within the bounds, in fp32. They are values of the tensor's dtype, so rounding to it keeps them."""
    value = value_of(word, law)
    if BELOW & law.CLAMP:
        value = tl.maximum(value, law.lowest)
    if ABOVE & law.CLAMP:
        value = tl.minimum(value, law.highest)
    return value
