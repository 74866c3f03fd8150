"""The machine that executes PTX: arithmetic against exact numbers, and threads that go apart and come together."""

import itertools
import operator
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from numpy.typing import NDArray
from ptx.arithmetic import OPERATIONS, TYPES, fma
from ptx.machine import Launch, run
from ptx.memory import AWAITED, READABLE, Global, Range
from ptx.text import PtxError

DIGITS = {"f32": (24, -149), "f16": (11, -24), "bf16": (8, -133)}  # and the exponent of the least number


def nearest(exact: Fraction, of: str) -> Fraction:
    """The nearest number of a format, ties to even, with no greatest one."""
    digits, least = DIGITS[of]
    exponent = abs(exact).numerator.bit_length() - abs(exact).denominator.bit_length()
    exponent -= abs(exact) < Fraction(2) ** exponent
    unit = Fraction(2) ** max(exponent - digits + 1, least)
    return round(exact / unit) * unit


def floats(rng: np.random.Generator, count: int, exponents: range) -> NDArray[np.float32]:
    """Of either sign, below 2 ** exponent; half of them of so few digits that some roundings are ties."""
    mantissas = rng.integers(2**23, 2**24, count) * rng.choice([-1, 1], count)
    mantissas[::2] &= -(2**12)
    return np.ldexp(mantissas, rng.choice(exponents, count) - 24).astype("f4")


def test_fma_is_rounded_once():
    rng = np.random.default_rng(1)
    # Products just below half of a sum's last digit, at every magnitude, down to sums that are subnormal.
    near = [
        (2.0 ** (s // 2) * (1 + 2**-23), sign * 2.0 ** (s - s // 2) * (1 - 2**-23), other * (base + 2 * k) * 2.0**s)
        for s, sign, other, base, k in itertools.product(range(-150, 80), (1, -1), (1, -1), (0, 1000, 2**24), range(3))
    ]
    like = [floats(rng, 5000, range(least, most)) for least, most in ((-80, -60), (-70, -60), (-149, -120))]
    a, b, c = (np.concatenate([np.array(x, "f4"), y]) for x, y in zip(zip(*near, strict=True), like, strict=True))
    exact = [Fraction(float(i)) * Fraction(float(j)) + Fraction(float(k)) for i, j, k in zip(a, b, c, strict=True)]
    wanted = [nearest(total, "f32") for total in exact]
    assert [Fraction(float(value)) for value in fma(a, b, c)] == wanted
    # There were subnormal sums among them, and sums that two roundings get wrong.
    assert sum(0 < abs(value) < Fraction(2) ** -126 for value in wanted) > 1000
    twice = (a.astype("f8") * b + c).astype("f4")
    wrong = [right for value, right in zip(twice, wanted, strict=True) if Fraction(float(value)) != right]
    assert len(wrong) > 500
    assert any(abs(value) < Fraction(2) ** -126 for value in wrong)


def test_each_half_of_a_pair_is_rounded_once():
    """Of other halves on either side, so that none is taken for another."""
    rng = np.random.default_rng(3)
    low, high = ([floats(rng, 1000, range(-70, -50)) for _ in range(3)] for _ in range(2))
    pairs = [np.stack(halves, 1).view("u8")[:, 0] for halves in zip(low, high, strict=True)]
    got = OPERATIONS["fma.rn.f32x2"].function(*pairs).view("f4").reshape(-1, 2)
    assert np.array_equal(got, np.stack([fma(*low), fma(*high)], 1))
    # One number for all lanes, as an immediate operand is.
    same = OPERATIONS["fma.rn.f32x2"].function(pairs[0], pairs[1][:1], pairs[2][:1]).view("f4").reshape(-1, 2)
    assert np.array_equal(same[:, 0], fma(low[0], low[1][:1], low[2][:1]))
    assert np.array_equal(same[:, 1], fma(high[0], high[1][:1], high[2][:1]))


ROUNDING = [name for name in OPERATIONS if ".rn." in name and not name.startswith("fma") and "x2" not in name]


@pytest.mark.parametrize("opcode", ROUNDING)
def test_rounding(opcode):
    function, to, sources = OPERATIONS[opcode]
    rng = np.random.default_rng(2)
    if sources[0] == "f32":
        values = [floats(rng, 5000, range(-30, 15) if to == "f16" else range(-100, 60)) for _ in sources]
    else:
        values = [(rng.integers(0, 2**32, 5000) >> rng.integers(0, 32, 5000)).astype("u4").view(TYPES[sources[0]])]
    got = np.asarray(function(*values), TYPES[to])
    if to == "bf16":
        got = (got.astype("u4") << 16).view("f4")
    combine = {"add": operator.add, "sub": operator.sub, "mul": operator.mul}.get(opcode[:3], lambda x: x)
    exact = [combine(*(Fraction(number.item()) for number in numbers)) for numbers in zip(*values, strict=True)]
    assert [Fraction(float(value)) for value in got] == [nearest(number, to) for number in exact]


def truncated(a: int, b: int) -> int:
    return floor(abs(a) / Fraction(abs(b))) * (1 if (a < 0) == (b < 0) else -1)


def clamped(shift):
    return lambda a, n: shift(a, min(n, 64))


INTEGERS = {
    "add": operator.add, "sub": operator.sub, "neg": operator.neg, "min": min, "max": max, "div": truncated,
    "mul.lo": operator.mul, "mul.hi": lambda a, b: a * b >> 32, "mul.wide": operator.mul,
    "mad.lo": lambda a, b, c: a * b + c, "mad.wide": lambda a, b, c: a * b + c,
    "setp.lt": operator.lt, "setp.le": operator.le, "setp.gt": operator.gt, "setp.ge": operator.ge,
    "setp.eq": operator.eq, "setp.ne": operator.ne, "and": operator.and_, "or": operator.or_, "xor": operator.xor,
    "shl": clamped(operator.lshift), "shr": clamped(operator.rshift), "cvt.s64": int, "cvt.u64": int, "cvt.u32": int,
    "cvt.s32": int, "cvt.u16": int,
}  # fmt: skip


@pytest.mark.parametrize(
    "opcode", [name for name in OPERATIONS if name[: name.rindex(".")] in INTEGERS and ".f" not in name]
)
def test_integers(opcode):
    """As Python's integers, cut to the result's size."""
    function, to, sources = OPERATIONS[opcode]
    columns = []
    for of in sources:
        size = 8 * TYPES[of].itemsize if of != "pred" else 1
        last = 2**size - 1
        edges = {0, 1, 2, 3, 31, 32, 33, 63, 64, last // 2, last // 2 + 1, last - 1, last, 0xD2511F53}
        bits = np.array(sorted(edge for edge in edges if edge <= last), f"u{TYPES[of].itemsize}")
        columns.append(bits.astype(bool) if of == "pred" else bits.view(TYPES[of]))
    rows = [row for row in itertools.product(*columns) if "div" not in opcode or row[1] not in (0, -1)]
    got = function(*(np.array(column, TYPES[of]) for column, of in zip(zip(*rows, strict=True), sources, strict=True)))
    exact = [INTEGERS[opcode.rsplit(".", 1)[0]](*(int(number) for number in row)) for row in rows]
    size = 8 * TYPES[to].itemsize
    assert [int(value) % 2**size for value in np.asarray(got, TYPES[to])] == [value % 2**size for value in exact]


def test_bit_fields():
    """Position and length, and the sign that only the signed one extends."""
    bits = np.array([0b1011_0100, 0xFFFFFFFF], "u4")
    position, length = np.array([2], "u4"), np.array([4], "u4")
    assert OPERATIONS["bfe.u32"].function(bits, position, length).tolist() == [0b1101, 0b1111]
    assert OPERATIONS["bfe.s32"].function(bits.view("i4"), position, length).tolist() == [-3, -1]


def test_zeros_and_nan_of_minimum_and_maximum():
    a, b = np.array([0.0, -0.0, np.nan, 1.0], "f4"), np.array([-0.0, 0.0, 2.0, np.nan], "f4")
    assert str(OPERATIONS["max.f32"].function(a, b).tolist()) == "[0.0, 0.0, 2.0, 1.0]"
    assert str(OPERATIONS["min.f32"].function(a, b).tolist()) == "[-0.0, -0.0, 2.0, 1.0]"


# Thread t adds 1 + 2 + ... + t in a loop, which the threads so leave one by one, and stores its neighbour's sum.
KERNEL = """
.visible .entry sums(
	.param .u64 .ptr .global .align 1 sums_param_0
)
.reqntid 32
{
	.reg .pred 	%p<3>;
	.reg .b32 	%r<9>;
	.reg .b64 	%rd<3>;
	ld.param.b64 	%rd1, [sums_param_0];
	mov.u32 	%r1, %tid.x;
	mov.b32 	%r2, 0;
	mov.b32 	%r3, %r1;
$L__LOOP:
	setp.eq.b32 	%p1, %r3, 0;
	@%p1 bra 	$L__DONE;
	add.s32 	%r2, %r2, %r3;
	add.s32 	%r3, %r3, -1;
	bra.uni 	$L__LOOP;
$L__DONE:
	shl.b32 	%r4, %r1, 2;
	st.shared.b32 	[%r4], %r2;
	bar.sync 	0;
	xor.b32 	%r5, %r4, 4;
	ld.shared.b32 	%r6, [%r5];
	mov.u32 	%r7, %ctaid.x;
	mad.lo.s32 	%r8, %r7, 32, %r1;
	mad.wide.u32 	%rd2, %r8, 4, %rd1;
	st.global.b32 	[%rd2], %r6;
	ret;
}
"""


def filled(text: str, blocks: int = 3) -> list[int]:
    address = 0x7F0000001010
    memory = Global([Range(address, np.zeros(128 * blocks, "u1"), np.full(128 * blocks, AWAITED, "u1"))])
    run(Launch(text, 128, blocks, (address,), ()), memory)
    memory.finish()
    return memory.bytes_of(address, 128 * blocks).view("u4").tolist()


def test_threads_go_apart_and_come_together():
    assert filled(KERNEL) == [k * (k + 1) // 2 for k in (t ^ 1 for t in range(32))] * 3


@pytest.mark.parametrize(
    ("line", "instead", "error"),
    [
        ("ret;", "bar.sync 0; @%p1 bar.sync 0; @!%p2 bar.sync 0; ret;", "%p2, which is not written"),
        ("bra.uni 	$L__LOOP;", "bra.uni $L__LOOP; bar.sync 0;", None),  # which no thread comes to
        ("add.s32 	%r3, %r3, -1;", "add.s32 %r3, %r3, -1; bar.sync 0;", "not all threads"),
        ("mov.b32 	%r2, 0;", "setp.lt.u32 %p2, %r1, 9; @%p2 mov.b32 %r2, 0;", "%r2, which is not written"),
        ("xor.b32 	%r5, %r4, 4;", "xor.b32 %r5, %r4, 128;", "outside of shared memory"),
        ("xor.b32 	%r5, %r4, 4;", "xor.b32 %r5, %r4, 2;", "no multiple"),
        ("st.shared.b32 	[%r4], %r2;", "and.b32 %r4, %r4, 64; st.shared.b32 [%r4], %r2;", "two threads at once"),
        ("ld.param.b64 	%rd1", "ld.param.b32 %r1", "a part of a parameter"),
        ("mov.u32 	%r1, %tid.x;", "mov.u32 %r1, %clock;", "%clock, which is not written"),
        ("shl.b32 	%r4, %r1, 2;", "%r4 = %r1 << 2;", "not read"),
        ("shl.b32 	%r4, %r1, 2;", "ex2.approx.ftz.f32 %r4, %r1;", "not known"),
        ("shl.b32 	%r4, %r1, 2;", "add.s64 %rd2, %r1, 2;", "of another size"),
        ("st.global.b32 	[%rd2], %r6;", "st.global.v2.b32 [%rd2], %r6;", "other operands"),
        ("st.global.b32 	[%rd2], %r6;", "ld.global.b32 %r6, [%rd2];", "not to be read"),
    ],
)  # fmt: skip
def test_errors(line, instead, error):
    changed = KERNEL.replace(line, instead)
    assert changed != KERNEL
    if error is None:
        filled(changed)
    else:
        with pytest.raises(PtxError, match=error):
            filled(changed)


def test_tables_are_not_written():
    memory = Global([Range(64, np.zeros(128, "u1"), np.full(128, READABLE, "u1"))])
    with pytest.raises(PtxError, match="read-only"):
        run(Launch(KERNEL, 128, 1, (64,), ()), memory)
