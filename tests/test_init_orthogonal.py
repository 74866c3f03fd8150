"""orthogonal_ and sparse_: matrices that are made as a whole. One is orthogonal, to a budget, and the same bits on any machine."""

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

import fastinit
from fastinit import Key, LocalShard, init
from fastinit.init import orthonormal, sparsity
from fastinit.init.sparsity import choice_key
from fastinit.shard.storage import DTYPES

KEY = Key(2024, 5)
# Of an inner product of two rows, or a row's with itself less one: a few roundings of fp64, and one of each element below it.
ORTHOGONAL = {torch.float64: 16 * 2.0**-53, torch.float32: 2.0**-23, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}
LAPACK_BUDGET = 1e-9  # of an element of Q: LAPACK's error, over the smallest singular value of these matrices
SHAPES = [(1, 1), (1, 7), (7, 1), (5, 7), (7, 5), (33, 33), (32, 100), (100, 65), (4, 2, 3, 5), (300, 300)]


def matrix_of(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[0], math.prod(shape[1:])


def off_by(matrix: Tensor, gain: float = 1.0) -> float:
    """How far the shorter side of a matrix is from orthogonal."""
    exact = matrix.double() / gain
    short = exact if exact.shape[0] <= exact.shape[1] else exact.T
    return (short @ short.T - torch.eye(len(short), dtype=torch.float64)).abs().max().item()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_it_is_orthogonal(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    filled = init.orthogonal_(torch.empty(shape, dtype=dtype), key=KEY).view(matrix_of(shape))
    assert off_by(filled) <= ORTHOGONAL[dtype]


def test_a_gain_is_a_factor() -> None:
    filled = init.orthogonal_(torch.empty(20, 30, dtype=torch.float64), gain=2.0, key=KEY)
    assert torch.equal(filled, 2 * init.orthogonal_(torch.empty(20, 30, dtype=torch.float64), key=KEY))
    assert off_by(filled, 2.0) <= ORTHOGONAL[torch.float64]
    assert not init.orthogonal_(torch.empty(3, 4), gain=0, key=KEY).any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_q_of_the_normals_of_its_key_with_torchs_signs(shape: tuple[int, ...]) -> None:
    normals = fastinit.normal_(torch.empty(shape, dtype=torch.float64), key=KEY).view(matrix_of(shape))
    wide = normals.shape[0] < normals.shape[1]
    q, r = torch.linalg.qr(normals.T if wide else normals)
    q = q * r.diagonal().sign()
    filled = init.orthogonal_(torch.empty(shape, dtype=torch.float64), key=KEY).view(matrix_of(shape))
    torch.testing.assert_close(filled, q.T if wide else q, rtol=0, atol=LAPACK_BUDGET)


def test_it_does_not_prefer_a_direction() -> None:
    """The first column of a random rotation of R^3 is uniform on the sphere: each of its coordinates on [-1, 1]."""
    bank = init.orthogonal_(torch.empty(3000, 3, 3), layout="e o i", key=KEY)
    for coordinate in (bank[:, 0, 0], bank[:, 2, 0], bank[:, 1, 2]):
        assert stats.kstest(coordinate.numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-4
    signs = torch.linalg.det(bank.double()).round().sum()
    assert abs(signs.item()) < 4 * math.sqrt(len(bank))  # rotations and reflections alike


@pytest.mark.parametrize(
    ("layout", "shape", "num_experts", "of_expert"),
    [
        ("e o i", (5, 4, 6), None, lambda w, e: w[e]),
        ("e i o", (5, 6, 4), None, lambda w, e: w[e]),
        ("o e i", (4, 5, 6), None, lambda w, e: w[:, e]),
        ("(e o) i", (20, 6), 5, lambda w, e: w[4 * e : 4 * e + 4]),
        ("i (e o)", (6, 20), 5, lambda w, e: w[:, 4 * e : 4 * e + 4]),
        ("e o i k", (5, 4, 2, 3), None, lambda w, e: w[e].flatten(1)),
    ],
)
def test_a_bank_is_a_matrix_an_expert(
    layout: str, shape: tuple[int, ...], num_experts: int | None, of_expert: Callable[[Tensor, int], Tensor]
) -> None:
    bank = init.orthogonal_(torch.empty(shape), layout=layout, num_experts=num_experts, key=KEY)
    normals = fastinit.normal_(torch.empty(shape, dtype=torch.float64), key=KEY)
    for expert in range(5):
        matrix, expected = of_expert(bank, expert), of_expert(normals, expert)
        assert off_by(matrix) <= ORTHOGONAL[torch.float32]
        wide = expected.shape[0] < expected.shape[1]
        q, r = torch.linalg.qr(expected.T if wide else expected)
        rotated = (q * r.diagonal().sign()).T if wide else q * r.diagonal().sign()
        torch.testing.assert_close(matrix.double(), rotated, rtol=0, atol=ORTHOGONAL[torch.float32])


def test_a_bank_without_a_layout_is_one_matrix_and_a_warning() -> None:
    said = r"layout: none was given for shape \(5, 4, 6\), so it was taken for one matrix of 5 rows and 24 columns"
    with pytest.warns(UserWarning, match=said) as caught:
        filled = init.orthogonal_(torch.empty(5, 4, 6), key=KEY)
    assert caught[0].filename == __file__
    assert torch.equal(filled, init.orthogonal_(torch.empty(5, 24), key=KEY).view(5, 4, 6))


def test_nothing_is_nothing() -> None:
    assert init.orthogonal_(torch.empty(0, 5), key=KEY).shape == (0, 5)
    assert init.sparse_(torch.empty(5, 0), 0.5, key=KEY).shape == (5, 0)
    assert init.sparse_(torch.empty(0, 5), 0.5, key=KEY).shape == (0, 5)


# --------------------------------------------------------------------------------------------- the same bits on any machine


def matrix(rows: int, columns: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((rows, columns))


@pytest.mark.parametrize("length", [2, 63, 1000, 2**18 + 1])
def test_parts_are_few_bits_and_add_up(length: int) -> None:
    numbers = matrix(1, length) * np.logspace(-12, 3, length)
    bits = orthonormal._bits(length)
    parts = orthonormal._split(numbers, bits)
    unit = 2.0 ** (math.frexp(np.abs(numbers).max())[1] - bits)
    for part in parts:
        assert (part / unit == np.rint(part / unit)).all()
        assert (np.abs(part / unit) <= 2**bits).all()
        unit *= 2.0**-bits
    assert length * 2 ** (2 * bits) <= 2**53  # so that sums of products of parts are exact
    assert np.abs(numbers - parts.sum(0)).max() <= 2.0**-53 * np.abs(numbers).max()


def test_products_of_parts_are_exact() -> None:
    left, right = matrix(3, 50), matrix(50, 4, seed=1)
    parts = [orthonormal._split(m, orthonormal._bits(50)) for m in (left, right)]
    for one, other in zip(*parts, strict=True):
        exact = [
            [sum(Fraction(x) * Fraction(y) for x, y in zip(row, column, strict=True)) for column in other.T]
            for row in one
        ]
        assert (one @ other).tolist() == [[float(number) for number in row] for row in exact]
        assert all(float(number) == number for row in exact for number in row)


@pytest.mark.parametrize("size", [5, 40, 200])
def test_a_product_does_not_depend_on_the_order_of_its_sums(size: int) -> None:
    left, right, order = matrix(7, size), matrix(size, 9, seed=1), np.random.default_rng(2).permutation(size)
    bits = orthonormal._bits(size)
    one = orthonormal._product(orthonormal._split(left, bits), orthonormal._split(right, bits))
    other = orthonormal._product(orthonormal._split(left[:, order], bits), orthonormal._split(right[order], bits))
    assert one.tolist() == other.tolist()
    assert np.abs(one - left @ right).max() <= size * 2.0**-50


ALONE = """
import hashlib, importlib.util, sys
import numpy as np
spec = importlib.util.spec_from_file_location("orthonormal", sys.argv[1])
orthonormal = importlib.util.module_from_spec(spec)
spec.loader.exec_module(orthonormal)
matrix = np.random.default_rng(0).standard_normal((150, 170))
print(hashlib.sha256(orthonormal.orthonormal_rows(matrix).tobytes()).hexdigest())
"""


@pytest.mark.parametrize(
    "environment",
    [
        {"OPENBLAS_NUM_THREADS": "1"},
        {"OPENBLAS_NUM_THREADS": "2"},
        {"OPENBLAS_CORETYPE": "Nehalem"},  # without fused multiply-adds
        {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"},
    ],
    ids=str,
)
def test_the_bits_are_those_of_other_processors_and_threads(environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", ALONE, orthonormal.__file__]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(orthonormal.orthonormal_rows(matrix(150, 170)).tobytes()).hexdigest()


def test_rows_that_are_almost_dependent() -> None:
    """The last of a square matrix has little left of it: made orthogonal once, it would be so to few digits."""
    rows = matrix(40, 40)
    rows[39] = rows[:39].sum(0) + 1e-10 * rows[39]
    done = orthonormal.orthonormal_rows(rows)
    assert np.abs(done @ done.T - np.eye(40)).max() <= ORTHOGONAL[torch.float64]


# ------------------------------------------------------------------------------------------------------------------- sparse_


@pytest.mark.parametrize("fraction", [0.0, 0.1, 1 / 3, 0.9, 1.0])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_each_column_has_so_many_zeros_and_else_normals(fraction: float, dtype: torch.dtype) -> None:
    filled = init.sparse_(torch.empty(37, 11, dtype=dtype), fraction, std=0.5, key=KEY)
    normals = fastinit.normal_(torch.empty(37, 11, dtype=dtype), std=0.5, key=KEY)
    zero = filled == 0
    assert zero.sum(0).tolist() == [math.ceil(fraction * 37)] * 11
    assert torch.equal(filled, normals.masked_fill(zero, 0))


def test_the_zeros_are_where_the_uniforms_are_smallest() -> None:
    order = fastinit.uniform_(torch.empty(37, 11), key=choice_key(KEY.seed, KEY.stream))
    least = order.sort(dim=0).values[math.ceil(0.3 * 37) - 1]
    assert torch.equal(init.sparse_(torch.empty(37, 11), 0.3, key=KEY) == 0, order <= least)


def test_each_row_is_chosen_as_often() -> None:
    chosen = (init.sparse_(torch.empty(20, 10_000), 0.25, key=KEY) == 0).sum(1)
    # Of a column with 5 zeros in 20 rows each row has one with probability 1/4; the rows of a column repel each other.
    assert stats.chisquare(chosen.numpy()).pvalue > 1e-4
    pairs = (init.sparse_(torch.empty(4, 12_000), 0.5, key=KEY) == 0).T.double()
    patterns = (pairs @ torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64)).long().bincount(minlength=16)
    assert stats.chisquare(patterns[[3, 5, 6, 9, 10, 12]].numpy()).pvalue > 1e-4  # the six pairs of four rows


def test_few_columns_at_a_time_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = init.sparse_(torch.empty(37, 11), 0.3, key=KEY)
    for chunk in (1, 37 * 4):
        monkeypatch.setattr(sparsity, "CHUNK", chunk)
        assert torch.equal(init.sparse_(torch.empty(37, 11), 0.3, key=KEY), whole)
        shard = LocalShard((37, 11), (5, 3))
        assert torch.equal(init.sparse_(torch.empty(9, 7), 0.3, key=KEY, shard=shard), whole[5:14, 3:10])
