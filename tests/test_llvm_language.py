"""The language that the llvm backend's functions are written in: operators are numpy's, loops are Python's."""

import ctypes
import json
import operator
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastinit import reference
from fastinit.backends.llvm_compile import address_of, host
from fastinit.backends.llvm_ir import F32, F64, I32, I64, U16, U32, U64, Function, Type, Value
from fastinit.backends.llvm_ops import (
    bitcast,
    convert,
    fma,
    iota,
    load,
    loop,
    maximum,
    minimum,
    select,
    shuffle,
    store,
    when,
)
from fastinit.backends.llvm_words import KEY_BYTES, philox, write_keys

KNOWN = json.loads((Path(__file__).parent / "data" / "philox4x32_kat.json").read_text())["philox4x32"]


def run(function: Function, *arrays: np.ndarray) -> None:
    """Compiled for this processor, and called with the arrays' addresses."""
    numbers = [ctypes.c_int64] * len(arrays)
    ctypes.CFUNCTYPE(None, *numbers)(address_of(function, host()))(*(array.ctypes.data for array in arrays))


@pytest.mark.parametrize("case", [case for case in KNOWN if case["rounds"] == 10])
def test_known_answers_of_philox(case):
    """Two of them have counters that no element reaches."""
    counter, key = ([int(word, 16) for word in case[name]] for name in ("counter", "key"))
    number = np.array(
        [counter[0] + (counter[1] << 32), counter[2] + (counter[3] << 32), key[0] + (key[1] << 32)], np.uint64
    )
    words = np.empty((4, 8), np.uint64)
    function = Function("words", 2)
    numbers, out = function.arguments
    group, stream, seed = (load(numbers + 8 * k, U64) for k in range(3))
    keys = function.scratch(KEY_BYTES)
    write_keys(keys, seed)
    for k, word in enumerate(philox(iota(function, U64.vector(8)) + group, stream, keys)):
        store(word, out + 64 * k)
    run(function, number, words)
    assert (words[:, 0] % 2**32).tolist() == [int(word, 16) for word in case["words"]]


E15, ODD = 2.0**-15, 1 + 2.0**-23
floats = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**60), max_value=2.0**60)


def fma_function(fused: bool) -> Callable[..., None]:
    function = Function("fma_of_eight", 4, fused)
    out, *operands = function.arguments
    store(fma(*(load(operand, F32.vector(8)) for operand in operands)), out)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(address_of(function, host()))


FMA = {fused: fma_function(fused) for fused in {host().fused, False}}


@example(2.0**-12 * (1 + E15), 2.0**-12 * (1 - E15), ODD)
@example(2.0**-12 * (1 + E15), -(2.0**-12) * (1 - E15), -ODD)
@example(2.0**-12 * (1 + E15), -(2.0**-12) * (1 - E15), 1 + 2.0**-22)
@example(2.0**-12 * (1 + E15), -(2.0**-12) * (1 - E15), ODD)
@example(2.0**-80, 2.0**-60, 2.0**-127)  # below the normal range
@example(2.0**-75 * ODD, 2.0**-75, 2.0**-149)
@settings(max_examples=300)
@given(floats, floats, floats)
def test_fma_rounds_once(x, y, z):
    expected = reference.fma(*(torch.tensor([v], dtype=torch.float64) for v in (x, y, z))).item()
    operands = [np.full(8, v, np.float32) for v in (x, y, z)]
    for call in FMA.values():
        out = np.empty(8, np.float32)
        call(out.ctypes.data, *(operand.ctypes.data for operand in operands))
        assert out.tolist() == [expected] * 8


def result(operands: list[np.ndarray], types: list[Type], kind: np.dtype, of: Callable[..., Value]) -> np.ndarray:
    """Of vectors of eight."""
    function = Function("result", 1 + len(operands))
    values = [load(address, type.vector(8)) for address, type in zip(function.arguments[1:], types, strict=True)]
    value = of(*values)
    out = np.zeros(value.type.lanes, kind)
    store(value, function.arguments[0])
    run(function, out, *operands)
    return out


NUMPY = {I32: np.int32, U32: np.uint32, I64: np.int64, U64: np.uint64, F32: np.float32, F64: np.float64}
INTEGERS = "add sub mul floordiv mod and_ or_ xor"
OPERATIONS = {I32: INTEGERS, U32: INTEGERS, I64: INTEGERS, U64: INTEGERS, F32: "add sub mul", F64: "add sub mul"}


@pytest.mark.parametrize("type", OPERATIONS, ids=lambda type: f"{type.kind}{type.bits}")
def test_operators_are_numpys(type):
    values = np.array([1, 2, 3, 77, 2**30 + 3, 2**31 - 1, 5, 9]).astype(NUMPY[type])
    others = np.array([1, 3, 2, 7, 2**30, 11, 2**20, 1]).astype(NUMPY[type])
    for name in OPERATIONS[type].split():
        of = getattr(operator, name)
        expected = of(values, others)
        assert result([values, others], [type, type], NUMPY[type], of).tolist() == expected.tolist(), name
        assert (
            result([values], [type], NUMPY[type], lambda x, of=of: of(x, 3)).tolist()
            == of(values, values.dtype.type(3)).tolist()
        )


@pytest.mark.parametrize("type", [I32, U32, I64, U64], ids=lambda type: f"{type.kind}{type.bits}")
def test_signs_matter_to_shifts_comparisons_and_conversions(type):
    values = np.array([0, 1, -1, -8, 2**31 - 1, -(2**31), 100, -100]).astype(NUMPY[type])
    kind = NUMPY[type]
    assert result([values], [type], kind, lambda x: x >> 3).tolist() == (values >> kind(3)).tolist()
    assert result([values], [type], kind, lambda x: x << 3).tolist() == (values << kind(3)).tolist()
    assert result([values], [type], kind, lambda x: maximum(x, 50)).tolist() == np.maximum(values, kind(50)).tolist()
    assert result([values], [type], kind, lambda x: minimum(x, 50)).tolist() == np.minimum(values, kind(50)).tolist()
    for other in NUMPY:
        got = result([values], [type], NUMPY[other], lambda x, other=other: convert(x, other))
        assert got.tolist() == values.astype(NUMPY[other]).tolist(), other


def test_comparisons_choose():
    values = np.array([0.0, -0.0, 1, -1, 3, 2, 5, 4], np.float32)
    for how, of in {"eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge"}.items():
        expected = np.where(getattr(operator, of)(values, 2), values, 9).tolist()
        got = result([values], [F32], np.float32, lambda x, how=how: select(x.compare(how, 2.0), x, 9.0))
        assert got.tolist() == expected
    # Of equal zeros the first stays.
    zeros = np.array([0.0, -0.0] * 4, np.float32)
    for of in (maximum, minimum):
        assert np.signbit(result([zeros], [F32], np.float32, lambda x, of=of: of(x, 0.0))).tolist() == [False, True] * 4


def test_bits_lanes_and_scalars():
    values = np.arange(8, dtype=np.uint32) * 0x01010101
    assert result([values], [U32], np.uint16, lambda x: bitcast(x, U16)).tolist() == values.view(np.uint16).tolist()
    assert result([values], [U32], np.uint32, lambda x: shuffle(x, x, [9, 0, 3])).tolist() == values[[1, 0, 3]].tolist()
    one = np.array([5, 6, 7, 8, 9, 10, 11, 12], np.uint32)

    def scalar_plus_vector(x: Value) -> Value:
        return convert(x.function.arguments[0] * 0 + 5, U32) + x

    assert result([one], [U32], np.uint32, scalar_plus_vector).tolist() == (one + 5).tolist()
    with pytest.raises(AssertionError):
        result([one], [U32], np.uint32, lambda x: x + convert(x, U64))


def test_loops_carry_and_nest():
    """Greatest common divisors by Euclid's algorithm in a loop of loops, conditions within."""
    function = Function("gcds", 1)
    (out,) = function.arguments
    zero = out * 0
    with loop(zero, 20, 2) as i, loop(zero + 3, 7) as j:
        pair = [i, j]
        with loop(zero, 10, carried=pair) as _:
            a, b = pair
            divisor = select(b > 0, b, 1)
            pair[:] = select(b > 0, b, a), select(b > 0, a % divisor, 0)
        with when((i + j).compare("ne", 7)):
            store(pair[0], out + (i * 7 + j) * 8)
    numbers = np.full((20, 7), -1)
    run(function, numbers)
    expected = [
        [int(np.gcd(i, j)) if i % 2 == 0 and j >= 3 and i + j != 7 else -1 for j in range(7)] for i in range(20)
    ]
    assert numbers.tolist() == expected
