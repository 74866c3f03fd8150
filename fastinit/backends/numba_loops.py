"""The compiled loops of the numba backend: Philox, quantile, bounds and rounding fused, a tile at a time.

A law is a named tuple whose type says its regime, and numba compiles a loop for each type. Every multiply-add is LLVM's
own ``fma``, and nothing is compiled with ``fastmath``, so no other operation is fused or reordered.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from fastinit.law.quantile_table import LOG_BUMP, LOG_RATIO, WIDE_Y_STEP

f32 = np.float32
Coefficients = tuple[np.float32, ...]


class Constant(NamedTuple):
    shift: np.float32


class Uniform(NamedTuple):
    scale: np.float32
    offset: np.float32


class Central(NamedTuple):
    scale: np.float32
    offset: np.float32
    shift: np.float32
    origin: np.float32
    coefficients: Coefficients


class Wide(NamedTuple):
    scale: np.float32
    offset: np.float32
    gain: np.float32
    shift: np.float32
    origin: np.float32
    coefficients: Coefficients


class Skew(NamedTuple):
    scale: np.float32
    offset: np.float32
    offset_right: np.float32
    gain: np.float32
    shift: np.float32
    origin: np.float32
    split: np.int64
    coefficients: Coefficients


class Far(NamedTuple):
    scale: np.float32
    offset: np.float32
    shift: np.float32
    origin: np.float32
    split: np.int64
    coefficients: Coefficients


class Narrow(NamedTuple):
    shift: np.float32
    coefficients: Coefficients


@intrinsic
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """fp32 x * y + z, rounded once."""
    return types.float32(types.float32, types.float32, types.float32), lambda context, builder, _, args: builder.fma(
        *args
    )


@intrinsic
def as_bits(typing: Any, x: Any) -> Any:
    """The bits of an fp32 value as int32."""
    return types.int32(types.float32), lambda context, builder, _, args: builder.bitcast(args[0], ir.IntType(32))


@intrinsic
def as_float(typing: Any, bits: Any) -> Any:
    """The fp32 value of int32 bits."""
    return types.float32(types.int32), lambda context, builder, _, args: builder.bitcast(args[0], ir.FloatType())


BUMP = tuple(map(f32, LOG_BUMP))
BUMP_IN_BITS = tuple(f32(c * 2.0**23) for c in LOG_BUMP)
RATIO = tuple(map(f32, LOG_RATIO))
ONE, BELOW_ONE, LINE, TWO_TO_31 = f32(1), np.int32(0x3F800000), f32(2.0**-23), np.int64(2**31)
THREE_QUARTERS, EXPONENT = np.int32(0x3F400000), np.int32(23)
STEP, HALF_STEP = f32(2.0**-31), f32(2.0**-32)
LAST, FIRST = np.int32(0x7FFFFFFF), np.int32(-(2**31))


def polynomial(t, coefficients):
    """Horner's scheme."""
    raise NotImplementedError  # compiled code calls the overload


@overload(polynomial)
def _polynomial(t, coefficients):
    return written_out(len(coefficients) - 1)


def wide_polynomial(t, y, coefficients):
    """Horner's scheme, of which one step, counted from the last, multiplies by y."""
    raise NotImplementedError  # compiled code calls the overload


@overload(wide_polynomial)
def _wide_polynomial(t, y, coefficients):
    return written_out(len(coefficients) - 1, WIDE_Y_STEP)


def written_out(degree, y_step=None):
    """The scheme's text, compiled: LLVM does not unroll a loop over the longer tuples, and then vectorises nothing."""
    value = f"fma(t, coefficients[{degree}], coefficients[{degree - 1}])"
    for step in range(degree - 1, 0, -1):
        value = f"fma({value}, {'y' if step == y_step else 't'}, coefficients[{step - 1}])"
    scope: dict[str, Any] = {"fma": fma}
    exec(f"def horner(t, {'y, ' if y_step else ''}coefficients):\n    return {value}", scope)
    return scope["horner"]


@njit
def raw_log2(bits, line, bump):
    mantissa = as_float(bits | BELOW_ONE)  # all of the exponent's bits are set but the highest
    return fma(mantissa, polynomial(mantissa, bump), line)


@njit
def log2(y, origin):
    bits = as_bits(y)
    exponent = np.int32((bits - THREE_QUARTERS) >> EXPONENT)
    fraction = as_float(np.int32(bits - np.int32(exponent << EXPONENT))) - ONE
    return fma(fraction, polynomial(fraction, RATIO), f32(exponent) + origin)


@njit
def end_distance(r, right):
    return np.uint32(r ^ (LAST if right else FIRST))


@njit
def from_tail(tail, negative, gain):
    x = fma(tail, f32(-2) * gain, gain)
    return as_float(np.int32(as_bits(x) ^ (FIRST if negative else np.int32(0))))


def constant(r, law):
    return law.shift


def uniform(r, law):
    return fma(f32(np.uint32(r ^ FIRST)), law.scale, law.offset)


def central(r, law):
    x = fma(f32(r), law.scale, law.offset)
    bits = as_bits(fma(-x, x, law.origin))
    t = raw_log2(bits, f32(bits), BUMP_IN_BITS)
    return fma(x, polynomial(t, law.coefficients), law.shift)


def wide(r, law):
    tail = fma(f32(np.int32(r ^ np.int32(r >> np.int32(31)) ^ LAST)), law.scale, law.offset)
    y = fma(-tail, tail, tail)
    bits = as_bits(y)
    t = raw_log2(bits, fma(f32(bits), LINE, law.origin), BUMP)
    return fma(from_tail(tail, r < 0, law.gain), wide_polynomial(t, y, law.coefficients), law.shift)


def skew(r, law):
    right = np.int64(r) >= law.split
    tail = fma(f32(end_distance(r, right)), law.scale, law.offset_right if right else law.offset)
    t = log2(fma(-tail, tail, tail), law.origin)
    return fma(from_tail(tail, not right, law.gain), polynomial(t, law.coefficients), law.shift)


def far(r, law):
    v = fma(f32(end_distance(r, np.int64(r) >= law.split)), law.scale, law.offset)
    return polynomial(log2(v, law.origin), law.coefficients) + law.shift


def narrow(r, law):
    return polynomial(fma(f32(r), STEP, HALF_STEP), law.coefficients) + law.shift


_REGIMES = {
    Constant: constant, Uniform: uniform, Central: central, Wide: wide, Skew: skew, Far: far, Narrow: narrow
}  # fmt: skip


def value_of(r, law):
    """The fp32 value of a word, read as a signed integer, before the bounds."""
    raise NotImplementedError  # compiled code calls the overload


@overload(value_of)
def _value_of(r, law):
    return _REGIMES[law.instance_class]


def rounded(value, element):
    """The value as an element of the tensor's memory; int16 stands for bf16 and uint16 for fp16."""
    raise NotImplementedError  # compiled code calls the overload


def to_bfloat16(value, element):
    bits = np.uint32(as_bits(value))
    return np.int16(np.uint32(bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


def to_float16(value, element):
    bits = np.uint32(as_bits(value))
    sign = (bits >> np.uint32(16)) & np.uint32(0x8000)
    size = bits & np.uint32(0x7FFFFFFF)
    # Below the normal range the sum with 1/2 rounds to a multiple of 2**-24, fp16's subnormal step.
    subnormal = np.uint32(as_bits(as_float(np.int32(size)) + f32(0.5))) - np.uint32(0x3F000000)
    odd = (size >> np.uint32(13)) & np.uint32(1)
    normal = (size - np.uint32(112 << 23) + np.uint32(0xFFF) + odd) >> np.uint32(13)
    finite = subnormal if size < np.uint32(113 << 23) else normal
    # 65520 and more round to infinity.
    return np.uint16((finite if size < np.uint32(0x477FF000) else np.uint32(0x7C00)) | sign)


def to_float32(value, element):
    return value


def to_float64(value, element):
    return np.float64(value)


_ROUNDINGS = {
    types.float32: to_float32, types.float64: to_float64, types.int16: to_bfloat16, types.uint16: to_float16
}  # fmt: skip


@overload(rounded)
def _rounded(value, element):
    return _ROUNDINGS[element]
