"""What is computed of drawn numbers: lifted into a law where it follows one, with the values of the formula, and else replayed."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fastinit
from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.transformed import Constant, InverseSoftplusOfLogUniform, Law, LogOfUniform
from fastinit.recipe.hooks import recording
from fastinit.recipe.lifting import _scaled
from fastinit.recipe.tape import Tape
from fastinit.recipe.values import Drawn, Leaf, Same

NUMBER_BUDGET = 2.0**-36  # of a law's number, that is computed of others in another order
# A drawn number is a word's level in fp32, times a width and plus a start that are rounded to fp32, and rounded itself: each is off
# by 2**-24 of the larger bound at most. So much may the number that a formula starts from be off. As the formula is monotone, the
# law's values lie between those that it makes of the numbers below and above, but for the rounding of the result.
NUMBER_ROUNDING = 4 * 2.0**-24
RESULT_ROUNDING = 2.0**-24
# How far a normal's quantile is from the true one in probability at most, as tools/prove.py enumerates. torch's erfinv is exact in
# fp64, so a formula sees that as the uniform's width times as much.
LAW_BUDGET = 1e-6
REPLAY_BUDGET = 2.0**-22  # a replay is fp64, and rounded once
SHAPE = (4, 6)
KEY = fastinit.Key.of("w", seed=3)
Body = Callable[[Tensor], object]


class Model(nn.Module):
    """One parameter."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full(SHAPE, torch.nan, device=device))


def recorded(body: Body) -> fastinit.Recipe:
    def init(model: nn.Module) -> None:
        with torch.no_grad():
            body(model.get_parameter("w"))

    return fastinit.record(Model("meta"), init)


def filled(recipe: fastinit.Recipe) -> Tensor:
    model = Model()
    fastinit.init_model_(model, recipe, seed=3)
    assert fastinit.verify_model_(model, recipe, seed=3)
    return model.w.detach()


def executed(body: Body, first: str = "w", off: float = 0.0) -> Tensor:
    """An oracle: torch runs it in fp64 on the values that fastinit draws for the j-th leaf, ``first`` or ``w#j``.

    ``off``: of the width of what is drawn, how much each value is moved, within the bounds of a uniform.
    """

    def fill(tensor: Tensor, leaf: Leaf, found: Any) -> None:
        key = fastinit.Key.of(f"w#{leaf.order}" if leaf.order else first, seed=3)
        numbers = torch.empty(leaf.shape)
        one, other = leaf.law.parameters()[:2]
        if isinstance(leaf.law, Normal):
            drawn = fastinit.normal_(numbers, one, other, key=key).double()
            tensor.copy_(drawn + off * (abs(one) + (drawn - one).abs()))
            return
        moved = fastinit.uniform_(numbers, one, other, key=key).double() + off * max(abs(one), abs(other), other - one)
        tensor.copy_(moved.clamp(one, other))

    torch.set_default_dtype(torch.float64)
    try:
        w = torch.full(SHAPE, torch.nan)
        with recording(Tape(fill)), torch.no_grad():
            body(w)
    finally:
        torch.set_default_dtype(torch.float32)
    return w


def erfinv(w: Tensor, mean: float, std: float, a: float, b: float) -> Tensor:
    """As timm and torch up to 2.11 truncate a normal."""
    low, high = ((1 + math.erf((bound - mean) / std / math.sqrt(2))) / 2 for bound in (a, b))
    return w.uniform_(2 * low - 1, 2 * high - 1).erfinv_().mul_(std * math.sqrt(2)).add_(mean).clamp_(min=a, max=b)


def step() -> Tensor:
    return torch.exp(torch.rand(SHAPE) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))


def softplus_inverse(dt: Tensor) -> Tensor:
    return dt + torch.log(-torch.expm1(-dt))


def log_bounds(w: Tensor) -> Tensor:
    return w.uniform_(math.log(0.001), math.log(0.1)).exp_()


INVERSE = InverseSoftplusOfLogUniform(0.001, 0.1, 0.0)
FLOORED = InverseSoftplusOfLogUniform(0.001, 0.1, 0.004)
WIDE = 0.02 * math.sqrt(2)
LIFTED: dict[str, tuple[Body, Law]] = {
    "log": (lambda w: w.uniform_(1, 16).log_(), LogOfUniform(1, 16)),
    "log of a copy": (lambda w: w.copy_(torch.log(torch.empty(SHAPE).uniform_(0, 16))), LogOfUniform(0, 16)),
    "log of a scaled one": (lambda w: w.copy_((torch.rand(SHAPE) * 15 + 1).log()), LogOfUniform(1, 16)),
    "a step": (lambda w: w.copy_(softplus_inverse(step())), INVERSE),
    "a step, clamp(min)": (lambda w: w.copy_(softplus_inverse(step().clamp(min=0.004))), FLOORED),
    "a step, clamp_min": (lambda w: w.copy_(softplus_inverse(torch.clamp_min(step(), 0.004))), FLOORED),
    "a step, clamp_min_": (lambda w: w.copy_(softplus_inverse(step().clamp_min_(0.004))), FLOORED),
    "a step, floors": (lambda w: w.copy_(softplus_inverse(step().clamp(0.004).clamp(0.002, 0.2))), FLOORED),
    "a step in place": (lambda w: w.copy_(softplus_inverse(log_bounds(w))), INVERSE),
    "a step, otherwise added": (
        lambda w: w.copy_((lambda dt: torch.log(-torch.expm1(-dt)) + dt)(step())),
        INVERSE,
    ),
    "erfinv": (lambda w: erfinv(w, 0.0, 0.02, -0.06, 0.06), TruncatedNormal(0.0, 0.02, -0.06, 0.06)),
    "erfinv, wide": (lambda w: erfinv(w, 0.0, 0.02, -2.0, 2.0), TruncatedNormal(0.0, 0.02, -2.0, 2.0)),
    "erfinv, a mean": (lambda w: erfinv(w, 0.5, 1.0, -1.0, 1.0), TruncatedNormal(0.5, 1.0, -1.0, 1.0)),
    "erfinv, one-sided": (lambda w: erfinv(w, 0.0, 1.0, 0.0, 9.0), TruncatedNormal(0.0, 1.0, 0.0, 9.0)),
    "erfinv, infinite": (
        lambda w: w.uniform_(-1, 1).erfinv_().mul_(WIDE),
        TruncatedNormal(0.0, 0.02, -math.inf, math.inf),
    ),
    "erfinv, tf": (
        lambda w: erfinv(w, 0.0, 1.0, -2.0, 2.0).mul_(0.02).add_(0.1),
        TruncatedNormal(0.1, 0.02, 0.06, 0.14),
    ),
    "erfinv, variance": (
        lambda w: erfinv(w, 0.0, math.sqrt(1 / 6) / 0.87962566103423978, -2.0, 2.0),
        TruncatedNormal(0.0, math.sqrt(1 / 6) / 0.87962566103423978, -2.0, 2.0),
    ),
    "clamped, nothing cut": (lambda w: w.uniform_(-1, 1).clamp_(-2, 2), Uniform(-1, 1)),
    "normal times": (lambda w: w.copy_(torch.randn(SHAPE) * 0.02), Normal(0, 0.02)),
    "times normal": (lambda w: w.copy_(0.02 * torch.randn(SHAPE)), Normal(0, 0.02)),
    "tensor times normal": (lambda w: w.copy_(torch.tensor(0.03125) * torch.randn(SHAPE)), Normal(0, 0.03125)),
    "filled times normal": (lambda w: w.copy_(torch.full(SHAPE, 0.02) * torch.randn(SHAPE)), Normal(0, 0.02)),
    "normal, later": (lambda w: w.normal_(0.5, 2).mul_(0.25).add_(1), Normal(1.125, 0.5)),
    "division": (lambda w: w.normal_().div_(8), Normal(0, 0.125)),
    "0.5 + uniform": (lambda w: w.copy_(0.5 + torch.rand(SHAPE)), Uniform(0.5, 1.5)),
    "minus": (lambda w: w.uniform_().sub_(0.5), Uniform(-0.5, 0.5)),
    "add with alpha": (lambda w: w.uniform_().add_(0.5, alpha=3), Uniform(1.5, 2.5)),
    "sub with alpha": (lambda w: w.uniform_().sub_(torch.ones(SHAPE), alpha=0.5), Uniform(-0.5, 0.5)),
    "shifted first": (lambda w: w.copy_((torch.rand(SHAPE) - 0.5) / 4), Uniform(-0.125, 0.125)),
    "nothing of it": (lambda w: w.normal_().mul_(0).add_(3), Constant(3.0)),
    "numbers": (lambda w: w.fill_(2).mul_(3).sub_(1).div_(4).log_().exp_().neg_().clamp_(min=-1), Constant(-1.0)),
    "roots": (lambda w: w.copy_(torch.ones(SHAPE).mul(4).sqrt().expm1().clamp_max(2)), Constant(2.0)),
    "clone": (lambda w: w.copy_(torch.randn(SHAPE).clone().contiguous()), Normal(0, 1)),
    "stacked": (lambda w: w.copy_(torch.stack([*torch.randn(SHAPE).mul(2).unbind()])), Normal(0, 2)),
    "chunks": (lambda w: w.copy_(torch.cat(torch.randn(SHAPE).chunk(2))), Normal(0, 1)),
    "fp64": (lambda w: w.copy_(torch.randn(SHAPE).double().mul(0.5).float()), Normal(0, 0.5)),
    "bf16": (lambda w: w.copy_(torch.randn(SHAPE, dtype=torch.bfloat16) * 0.5), Normal(0, 0.5)),
    "to bf16": (lambda w: w.copy_(torch.randn(SHAPE).to(torch.bfloat16).float() * 0.5), Normal(0, 0.5)),
    "fp16": (lambda w: w.copy_(torch.randn(SHAPE).half()), Normal(0, 1)),
}
ROUNDED = {"bf16", "to bf16", "fp16"}  # by torch, on the way; a law rounds once, to the dtype of the parameter


@pytest.mark.parametrize("name", LIFTED)
def test_a_formula_is_its_law(name: str) -> None:
    body, law = LIFTED[name]
    recipe = recorded(body)
    tiles = recipe["w"].tiles
    assert [type(tile.law) for tile in tiles] == [type(law)]
    for tile in tiles:
        for number, expected in zip(numbers_of(tile.law), numbers_of(law), strict=True):
            assert number == expected or abs(number - expected) <= NUMBER_BUDGET * max(1.0, abs(expected)), tile.law
    if name in ROUNDED:
        assert torch.equal(filled(recipe), fastinit.normal_(torch.empty(SHAPE), *numbers_of(law), key=KEY))
        return
    assert_between(filled(recipe), body, *{tile.source for tile in tiles}, is_normal=isinstance(law, TruncatedNormal))


def assert_between(values: Tensor, body: Body, first: str = "w", is_normal: bool = False) -> None:
    """That the values are those of the formula, for numbers as near to the drawn ones as a law of fastinit's is to the true one."""
    off = NUMBER_ROUNDING + (LAW_BUDGET if is_normal else 0.0)
    one, other = executed(body, first, -off), executed(body, first, off)
    slack = RESULT_ROUNDING * torch.maximum(one.abs(), other.abs())
    low, high = torch.minimum(one, other) - slack, torch.maximum(one, other) + slack
    assert bool(((low <= values) & (values <= high)).all()), (values, low, high)


def numbers_of(law: Law) -> tuple[float, ...]:
    return tuple(getattr(law, name) for name in law.__dataclass_fields__)


def test_parts_keep_their_laws() -> None:
    """Put together by cat, or transposed."""
    recipe = recorded(lambda w: w.copy_(torch.cat([torch.randn(2, 6) * 0.5, torch.rand(1, 6) - 1, torch.zeros(1, 6)])))
    assert [(tile.offset, tile.law) for tile in recipe["w"].tiles] == [
        ((0, 0), Normal(0, 0.5)),
        ((2, 0), Uniform(-1, 0)),
        ((3, 0), Constant(0)),
    ]
    transposed = recorded(lambda w: w.copy_((torch.randn(6, 4) * 0.5).t()))
    assert [tile.law for tile in transposed["w"].tiles] == [Normal(0, 0.5)]
    assert torch.equal(filled(transposed), filled(recorded(lambda w: w.normal_(0, 0.5))))


REPLAYED: dict[str, Body] = {
    "erfinv, a negative scale": lambda w: w.uniform_(-0.9, 0.9).erfinv_().mul_(-1),
    "a negative scale": lambda w: w.normal_().mul_(-0.5),
    "divided by a negative number": lambda w: w.uniform_().div_(-2),
    "neg": lambda w: w.copy_(-torch.randn(SHAPE)),
    "number minus": lambda w: w.copy_(1 - torch.rand(SHAPE)),
    "number by": lambda w: w.copy_(1 / (torch.rand(SHAPE) + 1)),
    "a clamped normal": lambda w: w.normal_().clamp_(-0.5, 0.5),
    "a clamped uniform": lambda w: w.uniform_(-1, 1).clamp_(min=-0.5),
    "a clamp from above": lambda w: w.uniform_(-1, 1).clamp_max_(0.5),
    "erfinv, mass cut": lambda w: w.uniform_(-0.9, 0.9).erfinv_().mul_(math.sqrt(2)).clamp_(-1, 1),
    "erfinv, mass cut above": lambda w: w.uniform_(-0.9, 0.9).erfinv_().mul_(math.sqrt(2)).clamp_(max=1),
    "a row": lambda w: w.copy_(torch.randn(6)),
    "a scaled row": lambda w: w.copy_(torch.randn(6) * torch.ones(SHAPE)),
    "a column, added": lambda w: w.copy_(torch.rand(4, 1) + torch.zeros(SHAPE)),
    "whole numbers": lambda w: w.copy_((torch.rand(SHAPE) * 10).to(torch.int64)),
    "half precision of whole numbers": lambda w: w.copy_((torch.rand(SHAPE) * 10).int().double() * 0.5),
    "division to the floor": lambda w: w.copy_(torch.div(torch.rand(SHAPE) * 10, 3, rounding_mode="floor")),
    "truncating division": lambda w: w.copy_(torch.div(torch.randn(SHAPE) * 10, 3, rounding_mode="trunc")),
    "two drawn": lambda w: w.copy_(torch.randn(SHAPE) + torch.randn(SHAPE)),
    "two drawn, alpha": lambda w: w.copy_(torch.add(torch.randn(SHAPE), torch.rand(SHAPE), alpha=2)),
    "a product": lambda w: w.copy_(torch.randn(SHAPE) * torch.rand(SHAPE)),
    "alpha of a drawn one": lambda w: w.copy_(torch.add(torch.ones(SHAPE), torch.randn(SHAPE), alpha=2)),
    "a number less a drawn one": lambda w: w.copy_(torch.ones(SHAPE) - torch.randn(SHAPE)),
    "different numbers": lambda w: w.copy_(torch.randn(SHAPE) * torch.arange(6)),
    "log of a normal's exponential": lambda w: w.copy_(torch.randn(SHAPE).exp().add(1).log()),
    "an exponential": lambda w: w.uniform_(-1, 1).exp_(),
    "a root": lambda w: w.uniform_().sqrt_(),
    "steps, another order": lambda w: w.copy_((lambda dt: dt + torch.log(torch.expm1(-dt).neg().neg().abs()))(step())),
    "steps, log(expm1)": lambda w: w.copy_(step().expm1().log()),
    "steps, negated otherwise": lambda w: w.copy_((lambda dt: dt + (-torch.expm1(dt)).neg().log())(step())),
    "steps, less": lambda w: w.copy_((lambda dt: dt - torch.log(-torch.expm1(-dt)))(step())),
    "steps, twice": lambda w: w.copy_((lambda dt: torch.add(dt, torch.log(-torch.expm1(-dt)), alpha=2))(step())),
    "steps, another floor": lambda w: w.copy_((lambda dt: dt + torch.log(-torch.expm1(-dt.clamp(min=0.004))))(step())),
    "steps, a ceiling": lambda w: w.copy_(softplus_inverse(step().clamp(max=0.05))),
    "steps, scaled": lambda w: w.copy_(softplus_inverse(step() * 2)),
}


@pytest.mark.parametrize("name", REPLAYED)
def test_what_follows_no_law_is_replayed(name: str) -> None:
    body = REPLAYED[name]
    recipe = recorded(body)
    assert recipe["w"].computed is not None, recipe["w"].tiles
    if name.startswith("erfinv"):  # the part of it that is a law is drawn as one
        assert_between(filled(recipe), body, is_normal=True)
        return
    torch.testing.assert_close(filled(recipe).double(), executed(body), rtol=REPLAY_BUDGET, atol=REPLAY_BUDGET)


def test_the_logarithm_of_negative_numbers_is_no_law() -> None:
    """Its values are no numbers, here as in torch."""
    recipe = recorded(lambda w: w.uniform_(-1, 1).log_())
    assert recipe["w"].computed is not None
    assert torch.equal(filled(recipe).isnan(), executed(lambda w: w.uniform_(-1, 1).log_()).isnan())


def test_rounding_division_of_a_number_is_none() -> None:
    leaf = Leaf(Normal(), SHAPE, 0)
    for x in (Same(7.0), Drawn(leaf, Normal())):
        assert _scaled("div", {"self": x, "other": 2, "rounding_mode": "floor"}) is None
