"""What the instructions compute, on arrays with an element for each thread.

The chapters "Integer Arithmetic", "Floating Point", "Comparison and Selection", "Logic and Shift" and "Data Movement and
Conversion Instructions" of the PTX ISA. Only what the kernels use is here, so a new opcode is an error until someone has
read what it does. No ``.ftz``, ``.approx`` or ``.sat`` is here, and no fp32 sum or product without a rounding mode, which
the assembler may contract.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

# A type's name in PTX -> numpy's. Bits without a meaning are unsigned, and bf16's are all there is of it.
_KINDS = {"b": "u", "u": "u", "s": "i", "f": "f"}
TYPES = {f"{kind}{8 * size}": np.dtype(f"{of}{size}") for kind, of in _KINDS.items() for size in (2, 4, 8)}
TYPES |= {name: np.dtype(of) for name, of in dict(pred="?", bf16="u2", bf16x2="u4", f16x2="u4", f32x2="u8").items()}


class Operation(NamedTuple):
    function: Callable[..., Array]
    result: str  # types
    sources: tuple[str, ...]


def fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c of fp32, rounded once, to the nearest, ties to even.

    The product is exact in fp64. Their sum there is rounded to odd: where it is not exact, of the two fp64 numbers around it
    the one with an odd mantissa is taken, which is neither an fp32 number nor halfway between two. So rounding it to fp32
    is rounding the exact sum.
    """
    product, addend = a.astype("f8") * b.astype("f8"), c.astype("f8")
    total = product + addend
    # What was rounded off, exactly (Knuth's two-sum).
    part = total - product
    error = (product - (total - part)) + (addend - part)
    inexact = (error != 0) & np.isfinite(total)
    if inexact.any():
        bits = total.view("i8")
        outward = (error > 0) == (total > 0)  # the exact sum is of greater magnitude than its rounding
        odd = (bits - (~outward & (bits & 1 == 0))) | 1
        total = np.where(inexact, odd, bits).view("f8")
    return total.astype("f4")


def fma_of_pairs(a: Array, b: Array, c: Array) -> Array:
    """Of two fp32 numbers each, each rounded once."""
    halves = [np.ascontiguousarray(pairs).view("f4").reshape(-1, 2) for pairs in (a, b, c)]
    return fma(*halves).view("u8")[:, 0]


def to_bf16(a: Array) -> Array:
    """fp32 to the bits of the nearest bf16, ties to even. No kernel has a NaN."""
    bits = a.view("u4").astype("u8")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("u2")


def pair(high: Array, low: Array) -> Array:
    return high.view("u2").astype("u4") << 16 | low.view("u2")


def maximum(a: Array, b: Array) -> Array:
    """Of a number and a NaN the number; +0 is greater than -0."""
    return np.where(a == b, (a.view("u4") & b.view("u4")).view("f4"), np.fmax(a, b))


def minimum(a: Array, b: Array) -> Array:
    return np.where(a == b, (a.view("u4") | b.view("u4")).view("f4"), np.fmin(a, b))


def shift_left(a: Array, amount: Array) -> Array:
    """Bits are gone, and none comes back, past the type's width."""
    width = 8 * a.itemsize
    return np.where(amount < width, a << np.minimum(amount, width - 1).astype(a.dtype), a.dtype.type(0))


def shift_right(a: Array, amount: Array) -> Array:
    """Past the type's width, zeros or copies of the sign."""
    width = 8 * a.itemsize
    shifted = a >> np.minimum(amount, width - 1).astype(a.dtype)
    return shifted if a.dtype.kind == "i" else np.where(amount < width, shifted, a.dtype.type(0))


def bit_field(a: Array, position: Array, length: Array) -> Array:
    """Bits of a from a position on; of a signed type the last one is the sign."""
    width = 8 * a.itemsize
    if not (np.all(length > 0) and np.all(position + length <= width)):
        raise ValueError("expected a bit field within the word")
    return (a << (width - position - length).astype(a.dtype)) >> (width - length).astype(a.dtype)


def divide(a: Array, b: Array) -> Array:
    """Toward zero."""
    if np.any(b == 0):
        raise ValueError("expected a divisor other than 0, which gives no defined value")
    return a // b + ((a % b != 0) & ((a < 0) != (b < 0)))


def wide(a: Array) -> Array:
    """As an integer of twice the size."""
    return a.astype(f"{a.dtype.kind}{2 * a.itemsize}")


def _operations() -> dict[str, Operation]:
    table = {}

    def add(opcodes: str, function: Callable[..., Array], sources: str = "_ _", result: str = "_") -> None:
        """An underscore is the opcode's last part, which is a type."""
        for opcode in opcodes.split():
            of = opcode.split(".")[-1]
            table[opcode] = Operation(function, result.replace("_", of), tuple(sources.replace("_", of).split()))

    # Integer Arithmetic Instructions
    add("add.s32 add.s64", np.add)
    add("sub.s16 sub.s32 sub.s64", np.subtract)
    add("neg.s32 neg.s64", np.negative, "_")
    add("mul.lo.s32 mul.lo.s64", np.multiply)
    add("mad.lo.s32 mad.lo.s64", lambda a, b, c: a * b + c, "_ _ _")
    add("mul.hi.u32", lambda a, b: (wide(a) * wide(b) >> np.uint64(32)).astype("u4"))
    add("mul.wide.s32", lambda a, b: wide(a) * wide(b), result="s64")
    add("mul.wide.u32", lambda a, b: wide(a) * wide(b), result="u64")
    add("mad.wide.s32", lambda a, b, c: wide(a) * wide(b) + c, "_ _ s64", "s64")
    add("mad.wide.u32", lambda a, b, c: wide(a) * wide(b) + c, "_ _ u64", "u64")
    add("div.s32 div.u32 div.s64", divide)
    add("min.s64", np.minimum)
    add("max.s64", np.maximum)
    add("bfe.s32 bfe.u32", bit_field, "_ u32 u32")
    # Floating Point Instructions
    add("add.rn.f32", np.add)
    add("sub.rn.f32", np.subtract)
    add("mul.rn.f32", np.multiply)
    add("fma.rn.f32", fma, "_ _ _")
    add("fma.rn.f32x2", fma_of_pairs, "_ _ _")
    add("neg.f32", np.negative, "_")
    add("max.f32", maximum)
    add("min.f32", minimum)
    # Comparison and Selection Instructions
    for name, function in dict(lt=np.less, le=np.less_equal, gt=np.greater, ge=np.greater_equal).items():
        add(" ".join(f"setp.{name}.{of}" for of in ("s32", "u32", "s64", "u64")), function, result="pred")
    add("setp.eq.b16 setp.eq.b32 setp.eq.b64", np.equal, result="pred")
    add("setp.ne.b32 setp.ne.b64", np.not_equal, result="pred")
    add("selp.b16 selp.b32 selp.f32", lambda a, b, p: np.where(p, a, b), "_ _ pred")
    # Logic and Shift Instructions
    add("and.b16 and.b32 and.b64 and.pred", np.bitwise_and)
    add("or.b16 or.b32 or.b64 or.pred", np.bitwise_or)
    add("xor.b32 xor.b64", np.bitwise_xor)
    add("shl.b16 shl.b32 shl.b64", shift_left, "_ u32")
    add("shr.s32 shr.s64 shr.u32 shr.u64", shift_right, "_ u32")
    # Data Movement and Conversion Instructions: integers are cut or extended; numpy rounds as .rn does.
    of_integers = "cvt.s32.s16 cvt.s64.s32 cvt.u16.u32 cvt.u32.u16 cvt.u32.u64 cvt.u64.u32"
    for opcode in f"{of_integers} cvt.f64.f32 cvt.rn.f32.s32 cvt.rn.f32.u32".split():
        to = opcode.split(".")[-2]
        add(opcode, lambda a, to=TYPES[to]: a.astype(to), "_", to)
    add("cvt.rn.f16.f32", lambda a: a.astype("f2"), "_", "f16")
    add("cvt.rn.bf16.f32", to_bf16, "_", "bf16")
    add("cvt.rn.f16x2.f32", lambda a, b: pair(a.astype("f2"), b.astype("f2")), result="f16x2")
    add("cvt.rn.bf16x2.f32", lambda a, b: pair(to_bf16(a), to_bf16(b)), result="bf16x2")
    return table


OPERATIONS = _operations()
