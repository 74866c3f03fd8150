"""Layouts: the fans and the matrices of a weight, and what is no layout."""

import pytest
import torch

from fastinit.shard.fans import Fans, Matrices, convolution, fan_in, fans, matrices

Shape = tuple[int, ...]


@pytest.mark.parametrize(
    ("layout", "shape", "experts", "inputs"),
    [
        ("o i", (96, 32), None, 32),
        ("o i k", (96, 1, 4), None, 4),
        ("e i o", (8, 32, 96), None, 32),
        ("e o i", (8, 96, 32), None, 32),
        ("(e i) o", (8 * 32, 96), 8, 32),
        ("(e o) i", (8 * 96, 32), 8, 32),
        ("i (e o)", (32, 8 * 96), 8, 32),
        ("(e i)", (8 * 32,), 8, 32),
    ],
)
def test_fan_of_a_layout(layout: str, shape: Shape, experts: int | None, inputs: int) -> None:
    assert fan_in(layout, shape, experts) == inputs


@pytest.mark.parametrize(
    ("layout", "shape", "experts", "message"),
    [
        ("o i", (8, 96, 32), None, "layout: "),
        ("o o", (96, 32), None, "layout: "),
        ("out in", (96, 32), None, "layout: "),
        ("(i e) o", (8 * 32, 96), 8, "layout: "),
        ("(o i)", (96 * 32,), None, "layout: "),
        ("(e i) o", (8 * 32, 96), None, "num_experts: "),
        ("(e i) o", (8 * 32, 96), 7, "num_experts: "),
    ],
)
def test_layouts_that_do_not_fit(layout: str, shape: Shape, experts: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fan_in(layout, shape, experts)


@pytest.mark.parametrize(
    ("layout", "shape", "experts", "expected"),
    [
        ("o i", (96, 32), None, Fans(32, 96)),
        ("o i k k", (96, 32, 3, 5), None, Fans(32 * 15, 96 * 15)),
        ("e i o", (8, 32, 96), None, Fans(32, 96)),
        ("e o i k", (8, 96, 32, 4), None, Fans(128, 384)),
        ("(e o) i", (8 * 96, 32), 8, Fans(32, 96)),
        ("i (e o)", (32, 8 * 96), 8, Fans(32, 96)),
    ],
)
def test_both_fans_of_a_layout(layout: str, shape: Shape, experts: int | None, expected: Fans) -> None:
    assert fans(layout, shape, experts) == expected


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 6), (8, 3, 5, 7), (2, 3, 4, 5, 6)])
def test_a_convolution_s_fans_are_torchs(shape: Shape) -> None:
    assert fans(convolution(shape), shape) == torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


def test_a_bias_has_no_fan_out() -> None:
    with pytest.raises(ValueError, match=r"layout: .*o among them, got '\(e i\)'"):
        fans("(e i)", (8 * 32,), 8)


@pytest.mark.parametrize(
    ("layout", "shape", "experts", "expected"),
    [
        ("o i", (96, 32), None, Matrices(0, 96, 1, 96)),
        ("o i k", (96, 32, 4), None, Matrices(0, 96, 1, 96)),
        ("e i o", (8, 32, 96), None, Matrices(0, 1, 8, 32)),
        ("o e i", (96, 8, 32), None, Matrices(1, 1, 8, 96)),
        ("(e o) i", (8 * 96, 32), 8, Matrices(0, 96, 8, 96)),
        ("i (e o)", (32, 8 * 96), 8, Matrices(1, 96, 8, 32)),
        ("(e o) i", (8, 32), 8, Matrices(0, 1, 8, 1)),
    ],
)
def test_matrices_of_a_layout(layout: str, shape: Shape, experts: int | None, expected: Matrices) -> None:
    assert matrices(layout, shape, experts) == expected


def test_experts_are_in_one_dimension() -> None:
    with pytest.raises(ValueError, match="layout: expected one dimension of experts, got 'e e o i'"):
        matrices("e e o i", (2, 4, 96, 32))
