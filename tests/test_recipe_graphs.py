"""Computations are compared as data: what prints alike may differ, and what is recorded again does not."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fastinit

Body = Callable[[Tensor], object]


class Model(nn.Module):
    """One parameter."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(4, 6, dtype=dtype))


def recorded(body: Body, device: str = "meta", dtype: torch.dtype = torch.float32) -> fastinit.Recipe:
    def init(model: nn.Module) -> None:
        with torch.no_grad():
            body(model.get_parameter("w"))

    return fastinit.record(lambda: Model(dtype), init, device=device)


def chain(steps: int, last: float) -> Body:
    """So long that it is cut off where it is printed; as a tree it would have 2**steps nodes."""

    def body(w: Tensor) -> None:
        values = torch.randn(4, 6) * torch.tensor(last).expand(6)
        for _ in range(steps):
            values = values.cos() + values
        w.copy_(values)

    return body


def table(*numbers: float) -> Body:
    return lambda w: w.copy_(torch.randn(4, 6).abs() * torch.tensor(numbers))


NUMBERS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
ALIKE: dict[str, tuple[Body, Body]] = {
    "numbers given in Python": (table(*NUMBERS), table(*NUMBERS[::-1])),
    "digits": (lambda w: w.normal_().abs_().mul_(0.1), lambda w: w.normal_().abs_().mul_(0.1 + 1e-9)),
    "what is cut off": (chain(40, 0.5), chain(40, 0.25)),
    "which numbers": (
        lambda w: w.copy_((lambda one, two: one.cos() * two)(*(torch.randn(4, 6) for _ in range(2)))),
        lambda w: w.copy_((lambda one, two: two.cos() * one)(*(torch.randn(4, 6) for _ in range(2)))),
    ),
    "where": (
        lambda w: (w.zero_(), w[:2].copy_(torch.randn(2, 6).abs())),
        lambda w: (w.zero_(), w[2:].copy_(torch.randn(2, 6).abs())),
    ),
    "an axis": (
        lambda w: w.copy_(torch.cumsum(torch.randn(4, 6), 0) * 0 + 1),
        lambda w: w.copy_(torch.cumsum(torch.randn(4, 6), 1) * 0 + 1),
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_what_prints_alike_may_differ(name: str) -> None:
    one, two = map(recorded, ALIKE[name])
    difference = one.diff(two)
    assert [line.split(":")[0] for line in difference.lines] == ["w"], (one["w"].text(), two["w"].text())
    assert one != two
    if one["w"].text() == two["w"].text():
        assert difference.lines[0].endswith(", computed otherwise")


@pytest.mark.parametrize("name", ALIKE)
def test_what_is_recorded_again_does_not_differ(name: str) -> None:
    """On another device, in another dtype, or copied."""
    body = ALIKE[name][0]
    recipe = recorded(body)
    others = (
        recorded(body),
        recorded(body, device="cpu"),
        recorded(body, dtype=torch.bfloat16),
        copy.deepcopy(recipe),
        pickle.loads(pickle.dumps(recipe)),
    )
    for other in others:
        assert recipe["w"].computed is not None
        assert not recipe.diff(other), recipe.diff(other)
        assert recipe == other
        assert hash(recipe["w"].computed) == hash(other["w"].computed)


def test_what_is_not_to_be_seen_has_no_part() -> None:
    def painted(w: Tensor) -> None:
        w[1].uniform_()
        w[:, 2].fill_(3.0)
        w[:2].zero_()
        w[2:].zero_()
        w[2:].copy_(torch.randn(2, 6).abs())

    def plain(w: Tensor) -> None:
        w[:2].zero_()
        w[2:].copy_(torch.randn(2, 6).abs())

    assert not recorded(painted).diff(recorded(plain))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_torch_s_default_dtype_has_no_part(dtype: torch.dtype) -> None:
    """Neither where a recipe is made nor where a model is filled, which is often done under that of the model."""

    def body(w: Tensor) -> None:
        w.copy_((torch.arange(1, 7) / 7).sin() * torch.linspace(0, 1, 6))

    def filled(recipe: fastinit.Recipe) -> Tensor:
        model = Model()
        fastinit.init_model_(model, recipe)
        return model.w.detach()

    recipe = recorded(body)
    expected = filled(recipe)
    torch.set_default_dtype(dtype)
    try:
        again, found = recorded(body), filled(recipe)
        assert torch.get_default_dtype() is dtype
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, expected)
    assert torch.equal(filled(again), expected)
    assert not recipe.diff(again)


def test_what_is_used_again_and_again_is_printed_at_once() -> None:
    """As a tree it would have 4**60 nodes."""

    def body(w: Tensor) -> None:
        values = torch.randn(4, 4)
        for _ in range(60):
            values = torch.addmm(values, values, values) * values
        w.zero_()[:, :4].copy_(values)

    recipe = recorded(body)
    assert len(str(recipe["w"].computed)) == 243
    assert len(repr(recipe)) < 1000
    assert not recipe.diff(copy.deepcopy(recipe))
