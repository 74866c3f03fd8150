"""The schemes whose scale follows from the fans: their laws are torch's floats, and their fans those of the logical weight."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fastinit import Key, LocalShard, init
from fastinit.init import schemes
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal, Uniform

KEY = Key(11, 12)
CONSTANT_BUDGET = 2.0**-50  # of a number that others computed, too
Laws = list[Distribution]


@pytest.fixture
def laws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Laws]:
    """The laws that weights are filled with meanwhile."""
    seen: Laws = []
    original = schemes.fill_

    def fill_(tensor: Tensor, law: Distribution, **where: Any) -> Tensor:
        seen.append(law)
        return original(tensor, law, **where)

    monkeypatch.setattr(schemes, "fill_", fill_)
    return seen


class Drawn(TorchDispatchMode):
    """What torch draws meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.laws: Laws = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind = {torch.ops.aten.uniform_.default: Uniform, torch.ops.aten.normal_.default: Normal}.get(func)
        if kind is not None:
            self.laws.append(kind(*args[1:3]))
        return func(*args, **(kwargs or {}))


SHAPES = [(96, 32), (7, 5), (8, 3, 5, 7), (2, 3, 4, 5, 6)]
GAINS = [
    ("linear", 0), ("conv_transpose2d", 0), ("sigmoid", 0), ("tanh", 0), ("relu", 0), ("leaky_relu", 0), ("leaky_relu", 0.2),
    ("leaky_relu", math.sqrt(5)), ("selu", 0),
]  # fmt: skip
CALLS: list[tuple[str, dict[str, Any]]] = [
    *((f"kaiming_{kind}_", dict(a=a, mode=mode, nonlinearity=nonlinearity))
      for kind in ("uniform", "normal") for mode in ("fan_in", "fan_out", "FAN_IN") for nonlinearity, a in GAINS),
    *((f"xavier_{kind}_", dict(gain=gain)) for kind in ("uniform", "normal") for gain in (1.0, 5 / 3, 0)),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_laws_are_torchs_to_the_last_bit(laws: Laws, shape: tuple[int, ...]) -> None:
    for name, arguments in CALLS:
        getattr(init, name)(torch.empty(shape), **arguments, key=KEY)
        with Drawn() as drawn:
            getattr(torch.nn.init, name)(torch.empty(shape), **arguments)
        assert drawn.laws == [laws.pop()], (name, arguments)


@pytest.mark.parametrize(("nonlinearity", "param"), [*GAINS, ("leaky_relu", None), ("conv1d", "not looked at")])
def test_gains_are_torchs(nonlinearity: str, param: Any) -> None:
    assert init.calculate_gain(nonlinearity, param) == torch.nn.init.calculate_gain(nonlinearity, param)


FAN_IN, FAN_OUT = 32, 72  # of a weight (72, 32)
MEANS = {"fan_in": 32.0, "fan_out": 72.0, "fan_avg": 52.0, "fan_geo_avg": 48.0}


@pytest.mark.parametrize("mode", MEANS)
@pytest.mark.parametrize("scale", [1.0, 2.0, 0.25])
def test_variance_scaling_is_its_formula(laws: Laws, mode: str, scale: float) -> None:
    for distribution, corrected in (
        ("normal", True),
        ("uniform", True),
        ("truncated_normal", True),
        ("truncated_normal", False),
    ):
        init.variance_scaling_(torch.empty(FAN_OUT, FAN_IN), scale, mode, distribution, corrected=corrected, key=KEY)
    variance = scale / MEANS[mode]
    bound, std = math.sqrt(3 * variance), math.sqrt(variance)
    wider = std / 0.87962566103423978
    assert laws == [
        Normal(0.0, std),
        Uniform(-bound, bound),
        TruncatedNormal(0.0, wider, -2 * wider, 2 * wider),
        TruncatedNormal(0.0, std, -2 * std, 2 * std),
    ]


def test_the_correction_is_the_std_of_what_is_truncated() -> None:
    assert abs(schemes.TRUNCATED_STD / stats.truncnorm(-2, 2).std() - 1) <= CONSTANT_BUDGET


def test_lecun_is_variance_scaling_by_default(laws: Laws) -> None:
    filled = [fill_(torch.empty(FAN_OUT, FAN_IN), key=KEY) for fill_ in (init.lecun_normal_, init.variance_scaling_)]
    assert laws[0] == laws[1]
    assert torch.equal(*filled)


def test_lecun_s_std_is_that_of_transformers(laws: Laws, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import initialization

    stds: list[float] = []
    monkeypatch.setitem(
        initialization.TORCH_INIT_FUNCTIONS, "trunc_normal_", lambda tensor, mean, std, **rest: stds.append(std)
    )
    for shape in SHAPES:
        initialization.lecun_normal_(torch.empty(shape))
        init.lecun_normal_(torch.empty(shape), key=KEY)
    assert [law.std for law in laws if isinstance(law, TruncatedNormal)] == stds


@pytest.mark.parametrize(
    ("a", "b", "bounds"), [(-3.0, 1.0, (-0.25, 0.75)), (-math.inf, 2.0, (-math.inf, 1.0)), (1.0, 1.0, (0.75, 0.75))]
)
def test_bounds_in_units_of_std(a: float, b: float, bounds: tuple[float, float]) -> None:
    got = init.trunc_normal_tf_(torch.empty(100), 0.5, 0.25, a, b, key=KEY)
    assert torch.equal(got, init.trunc_normal_(torch.empty(100), 0.5, 0.25, *bounds, key=KEY))


def test_bounds_in_units_of_no_std() -> None:
    assert init.trunc_normal_tf_(torch.empty(2), 0.5, 0.0, -math.inf, -1.0, key=KEY).tolist() == [0.5, 0.5]


def test_bounds_in_units_of_std_are_meant() -> None:
    init.trunc_normal_tf_(torch.empty(2), 0.0, 0.02, 3.0, 5.0, key=KEY)  # no warning of the mean outside


# ------------------------------------------------------------------------------------------------------------------- fans

EXPERTS, OUT, IN = 8, 96, 32
LAYOUTS = {
    "e o i": ((EXPERTS, OUT, IN), None),
    "e i o": ((EXPERTS, IN, OUT), None),
    "(e o) i": ((EXPERTS * OUT, IN), EXPERTS),
    "(e i) o": ((EXPERTS * IN, OUT), EXPERTS),
    "i (e o)": ((IN, EXPERTS * OUT), EXPERTS),
}
FANNED: dict[str, Callable[..., Tensor]] = {
    name: getattr(init, name)
    for name in init.__all__
    if name.startswith(("kaiming", "xavier", "lecun", "variance")) and name.endswith("_")
}


@pytest.mark.parametrize("name", FANNED)
def test_a_bank_s_law_is_that_of_one_expert(laws: Laws, name: str) -> None:
    """However it is laid out, and of however small a part of it a rank has."""
    FANNED[name](torch.empty(OUT, IN), key=KEY)
    for layout, (shape, num_experts) in LAYOUTS.items():
        FANNED[name](torch.empty(shape), key=KEY, layout=layout, num_experts=num_experts)
        part, shard = torch.empty([2] * len(shape)), LocalShard(shape, (3,) * len(shape))
        FANNED[name](part, key=KEY, layout=layout, num_experts=num_experts, shard=shard)
    assert len(laws) == 1 + 2 * len(LAYOUTS)
    assert set(laws) == {laws[0]}


@pytest.mark.parametrize("name", FANNED)
def test_a_bank_without_a_layout_is_a_warning_that_says_which_fan_was_taken(laws: Laws, name: str) -> None:
    said = r"layout: none was given for shape \(8, 96, 32\), so fan_in=3072 and fan_out=256 were taken, .* 'e o i' or 'e i o'"
    with pytest.warns(UserWarning, match=said) as caught:
        FANNED[name](torch.empty(EXPERTS, OUT, IN), key=KEY)
    assert caught[0].filename == __file__
    FANNED[name](torch.empty(EXPERTS, OUT, IN), layout="o i k", key=KEY)
    assert laws[0] == laws[1]


@pytest.mark.parametrize("name", FANNED)
def test_a_weight_without_elements_is_torchs_warning(name: str) -> None:
    state = torch.get_rng_state()
    with pytest.warns(UserWarning, match="Initializing zero-element tensors is a no-op") as caught:
        FANNED[name](torch.empty(0, 1))
    assert caught[0].filename == __file__
    assert torch.get_rng_state().tolist() == state.tolist()


@pytest.mark.parametrize("name", FANNED)
def test_a_part_without_elements_is_none(name: str) -> None:
    FANNED[name](torch.empty(0, 32), shard=LocalShard((96, 32), (96, 0)))
