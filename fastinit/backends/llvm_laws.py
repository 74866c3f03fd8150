"""What the llvm backend compiles of a law: a vector of words becomes one of values within the bounds, as a dtype holds them.

Every multiply-add is written as an ``fma``, and LLVM may fuse or reorder nothing else, as no instruction allows it to.
"""

import struct
from collections.abc import Callable, Sequence

from fastinit.backends.llvm_ir import F32, F64, I32, I64, U16, U32, Number, Value
from fastinit.backends.llvm_ops import bitcast, convert, fma, load, maximum, minimum, select, shuffle
from fastinit.law.lowered import Clamp, Lowered, Regime
from fastinit.law.quantile_table import LOG_BUMP, LOG_RATIO, SKEW_CENTRE, SKEW_LOG_RATIO, SKEW_Y_STEP, WIDE_Y_STEP

_FLOATS = ("scale", "offset", "offset_right", "gain", "shift", "origin", "lowest", "highest")
_FIRST, _LAST = -(2**31), 2**31 - 1
_BUMP_IN_BITS = tuple(c * 2.0**23 for c in LOG_BUMP)


def packed(law: Lowered, dtype: str) -> bytes:
    """The numbers of a law as a compiled function reads them; bounds that no value of the dtype passes are infinite."""
    clamp, (lowest, highest) = law.clamp(dtype), law.bounds(dtype)
    bounds = {
        "lowest": lowest if Clamp.BELOW in clamp else float("-inf"),
        "highest": highest if Clamp.ABOVE in clamp else float("inf"),
    }
    floats = [bounds[name] if name in bounds else getattr(law, name) for name in _FLOATS]
    return struct.pack(f"=q{len(floats) + len(law.coefficients)}f", law.split, *floats, *law.coefficients)


class Law:
    """Those numbers as values. Each is loaded where it is used, so that none holds a register all along."""

    def __init__(self, address: Value, coefficients: int) -> None:
        self._address, self._count = address, coefficients

    def __getattr__(self, name: str) -> Value:
        return load(self._address + (8 + 4 * _FLOATS.index(name)), F32)

    @property
    def split(self) -> Value:
        return load(self._address, I64)

    @property
    def coefficients(self) -> list[Value]:
        return [load(self._address + (8 + 4 * (len(_FLOATS) + k)), F32) for k in range(self._count)]


def float32(x: Value) -> Value:
    """Rounded to nearest."""
    return convert(x, F32)


def polynomial(t: Value, coefficients: Sequence[Number]) -> Value:
    """Horner's scheme."""
    value = fma(t, coefficients[-1], coefficients[-2])
    for coefficient in coefficients[-3::-1]:
        value = fma(value, t, coefficient)
    return value


def polynomial_with_y(inner: Value, y: Value, t: Value, coefficients: Sequence[Number], y_step: int) -> Value:
    """Horner's scheme, of which one step, counted from the last, multiplies by y, those before it by ``inner``, the rest by t."""
    value = fma(inner, coefficients[-1], coefficients[-2])
    for step in range(len(coefficients) - 2, 0, -1):
        value = fma(value, inner if step > y_step else y if step == y_step else t, coefficients[step - 1])
    return value


def raw_log2(bits: Value, line: Value, bump: Sequence[float]) -> Value:
    """From the bits of a float < 2, a log2 that lacks a bump of the mantissa, and those bits as a float in bump's units."""
    mantissa = bitcast(bits | 0x3F800000, F32)  # sets all of the exponent but its highest bit
    return fma(mantissa, polynomial(mantissa, bump), line)


def log2(y: Value, origin: Value, ratio: Sequence[float] = LOG_RATIO) -> Value:
    """log2(y) + origin, accurate near y = 1: the mantissa is taken in [3/4, 3/2)."""
    bits = bitcast(y, I32)
    exponent = (bits - 0x3F400000) >> 23
    fraction = bitcast(bits - (exponent << 23), F32) - 1.0
    return fma(fraction, polynomial(fraction, ratio), float32(exponent) + origin)


def is_right(r: Value, law: Law) -> Value:
    """Whether r >= split, which may lie one past all words."""
    return (r >= convert(law.split, I32)) & (law.split <= _LAST)


def end_distance(r: Value, right: Value) -> Value:
    """Words between r and its end of the law, counted from the right end where ``right``."""
    return convert(r ^ select(right, r.like(_LAST), _FIRST), U32)


def from_tail(tail: Value, gain: Value, sign: Value) -> Value:
    """gain * (1 - 2 tail), with the sign bit of the left tail."""
    return bitcast(bitcast(fma(tail, gain * -2.0, gain), I32) ^ sign, F32)


def constant(r: Value, law: Law) -> Value:
    return float32(r).like(law.shift)


def uniform(r: Value, law: Law) -> Value:
    return fma(float32(convert(r ^ _FIRST, U32)), law.scale, law.offset)


def central(r: Value, law: Law) -> Value:
    x = fma(float32(r), law.scale, law.offset)
    bits = bitcast(fma(-x, x, law.origin), I32)
    t = raw_log2(bits, float32(bits), _BUMP_IN_BITS)
    return fma(x, polynomial(t, law.coefficients), law.shift)


def wide(r: Value, law: Law) -> Value:
    tail = fma(float32(r ^ (r >> 31) ^ _LAST), law.scale, law.offset)
    y = fma(-tail, tail, tail)
    bits = bitcast(y, I32)
    t = raw_log2(bits, fma(float32(bits), 2.0**-23, law.origin), LOG_BUMP)
    x = from_tail(tail, law.gain, r & _FIRST)
    return fma(x, polynomial_with_y(t, y, t, law.coefficients, WIDE_Y_STEP), law.shift)


def skew(r: Value, law: Law) -> Value:
    x, y = sided(r, law)
    log = log2(y, law.origin, SKEW_LOG_RATIO)
    return fma(x, polynomial_with_y(log, y, log - SKEW_CENTRE, law.coefficients, SKEW_Y_STEP), law.shift)


def flank(r: Value, law: Law) -> Value:
    x, y = sided(r, law)
    return fma(x, polynomial(log2(y, law.origin), law.coefficients), law.shift)


def sided(r: Value, law: Law) -> tuple[Value, Value]:
    """x and y of the tail on r's side of the split."""
    right = is_right(r, law)
    tail = fma(float32(end_distance(r, right)), law.scale, select(right, law.offset_right, law.offset))
    return from_tail(tail, law.gain, select(right, r.like(0), _FIRST)), fma(-tail, tail, tail)


def far(r: Value, law: Law) -> Value:
    v = fma(float32(end_distance(r, is_right(r, law))), law.scale, law.offset)
    return polynomial(log2(v, law.origin), law.coefficients) + law.shift


def narrow(r: Value, law: Law) -> Value:
    return polynomial(fma(float32(r), 2.0**-31, 2.0**-32), law.coefficients) + law.shift


REGIMES: dict[Regime, Callable[[Value, Law], Value]] = {
    Regime.CONSTANT: constant,
    Regime.UNIFORM: uniform,
    Regime.CENTRAL: central,
    Regime.WIDE: wide,
    Regime.SKEW: skew,
    Regime.FLANK: flank,
    Regime.FAR: far,
    Regime.NARROW: narrow,
}


def to_float32(value: Value) -> Value:
    return value


def to_float64(value: Value) -> Value:
    return convert(value, F64)


def to_bfloat16(value: Value) -> Value:
    """To nearest even, as integers: processors' own instructions flush subnormals."""
    bits = bitcast(value, U32)
    halves = bitcast(bits + 0x7FFF + ((bits >> 16) & 1), U16)
    return shuffle(halves, halves, range(1, halves.type.lanes, 2))


def to_float16(value: Value) -> Value:
    """To nearest even, as integers, which every processor has."""
    bits = bitcast(value, U32)
    sign = (bits >> 16) & 0x8000
    size = bits & 0x7FFFFFFF
    # Below the normal range the sum with 1/2 rounds to a multiple of 2**-24, fp16's subnormal step.
    subnormal = bitcast(bitcast(size, F32) + 0.5, U32) - 0x3F000000
    normal = (size - ((112 << 23) - 0xFFF) + ((size >> 13) & 1)) >> 13
    finite = select(size < (113 << 23), subnormal, normal)
    # 65520 and more round to infinity.
    return convert(select(size < 0x477FF000, finite, 0x7C00) | sign, U16)


ROUNDINGS: dict[str, Callable[[Value], Value]] = {
    "float32": to_float32,
    "float64": to_float64,
    "bfloat16": to_bfloat16,
    "float16": to_float16,
}


def elements(words: Value, regime: Regime, law: Law, dtype: str) -> Value:
    """What memory is to hold for a vector of words, read as signed integers."""
    value = REGIMES[regime](words, law)
    # The bounds are values of the dtype, so rounding to it keeps them.
    return ROUNDINGS[dtype](minimum(maximum(value, law.lowest), law.highest))
