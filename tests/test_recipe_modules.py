"""torch's own modules: recorded without memory, filled, verified, with the laws of their constructors."""

import math
from collections.abc import Callable

import pytest
import torch
from laws import assert_same_bits
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

import fastinit
from fastinit.law.distributions import Normal, Uniform
from fastinit.law.transformed import Constant

SEED = 5
ROUNDING = 2.0**-22  # of what torch multiplies in fp32
# torch 2.13 deprecates the old weight_norm in favour of the parametrization; models use it all the same.
OLD = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")


class Written(nn.Module):
    """A parameter that one function writes."""

    def __init__(self, function: Callable[[Tensor], object], *shape: int) -> None:
        super().__init__()
        self.function = function
        self.w = nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.function(self.w)


def kaiming(fan: int) -> Uniform:
    """Of torch's linear and convolutional modules: kaiming_uniform_ with a = sqrt(5)."""
    bound = math.sqrt(3.0) * (math.sqrt(2.0 / 6) / math.sqrt(fan))
    return Uniform(-bound, bound)


def one_over_root(n: int) -> Uniform:
    return Uniform(-1 / math.sqrt(n), 1 / math.sqrt(n))


def xavier(fan_in: int, fan_out: int) -> Uniform:
    bound = math.sqrt(3.0) * math.sqrt(2.0 / (fan_in + fan_out))
    return Uniform(-bound, bound)


ZERO, ONE = Constant(0.0), Constant(1.0)


def fan(n: int) -> dict[str, object]:
    return {"weight": kaiming(n), "bias": one_over_root(n)}


ENCODER_LAYER = {
    "self_attn.in_proj_weight": xavier(8, 24),
    "self_attn.in_proj_bias": ZERO,
    "self_attn.out_proj.weight": kaiming(8),
    "self_attn.out_proj.bias": ZERO,
    "linear1.weight": kaiming(8),
    "linear1.bias": one_over_root(8),
    "linear2.weight": kaiming(16),
    "linear2.bias": one_over_root(16),
    "norm1.weight": ONE,
    "norm1.bias": ZERO,
    "norm2.weight": ONE,
    "norm2.bias": ZERO,
}

# The module, and the law of each parameter; None where it is computed, a tuple where it has laws by box.
MODULES: dict[str, tuple[Callable[[], nn.Module], dict[str, object]]] = {
    "linear": (lambda: nn.Linear(8, 4), fan(8)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3), fan(12)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, groups=2), fan(18)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), fan(16)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(4, 6, 3), fan(18)),
    "transposed 2d": (lambda: nn.ConvTranspose2d(4, 6, 3), fan(54)),
    "transposed 3d": (lambda: nn.ConvTranspose3d(2, 3, 2), fan(24)),
    "bilinear": (lambda: nn.Bilinear(3, 4, 5), {"weight": one_over_root(3), "bias": one_over_root(3)}),
    "embedding": (lambda: nn.Embedding(9, 4), {"weight": Normal(0.0, 1.0)}),
    "padded embedding": (lambda: nn.Embedding(9, 4, padding_idx=3), {"weight": (Normal(0.0, 1.0), ZERO)}),
    "bag": (lambda: nn.EmbeddingBag(9, 4, padding_idx=0), {"weight": (Normal(0.0, 1.0), ZERO)}),
    "layer norm": (lambda: nn.LayerNorm(4), {"weight": ONE, "bias": ZERO}),
    "group norm": (lambda: nn.GroupNorm(2, 4), {"weight": ONE, "bias": ZERO}),
    "batch norm": (lambda: nn.BatchNorm2d(4), {"weight": ONE, "bias": ZERO}),
    "prelu": (lambda: nn.PReLU(3), {"weight": Constant(0.25)}),
    "lstm": (
        lambda: nn.LSTM(4, 5, bidirectional=True, proj_size=3),
        {
            f"{name}_l0{end}": one_over_root(5)
            for end in ("", "_reverse")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        },
    ),
    "gru": (
        lambda: nn.GRU(4, 5),
        {f"{name}_l0": one_over_root(5) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
    ),
    "attention": (
        lambda: nn.MultiheadAttention(8, 2),
        {name.removeprefix("self_attn."): law for name, law in ENCODER_LAYER.items() if name.startswith("self_attn.")},
    ),
    "attention with keys of its own": (
        lambda: nn.MultiheadAttention(8, 2, kdim=4, vdim=6, add_bias_kv=True),
        {
            "q_proj_weight": xavier(8, 8),
            "k_proj_weight": xavier(4, 8),
            "v_proj_weight": xavier(6, 8),
            "in_proj_bias": ZERO,
            "bias_k": Normal(0.0, math.sqrt(2 / (8 + 8))),
            "bias_v": Normal(0.0, math.sqrt(2 / (8 + 8))),
            "out_proj.weight": kaiming(8),
            "out_proj.bias": ZERO,
        },
    ),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False),
        {f"layers.{k}.{name}": law for k in range(2) for name, law in ENCODER_LAYER.items()},
    ),
    "spectral norm": (
        lambda: parametrizations.spectral_norm(nn.Linear(8, 4)),
        {"bias": one_over_root(8), "parametrizations.weight.original": kaiming(8)},
    ),
    "old spectral norm": (
        lambda: spectral_norm(nn.Linear(8, 4)),
        {"bias": one_over_root(8), "weight_orig": kaiming(8)},
    ),
    "weight norm": (
        lambda: parametrizations.weight_norm(nn.Linear(8, 4)),
        {
            "bias": one_over_root(8),
            "parametrizations.weight.original0": None,
            "parametrizations.weight.original1": kaiming(8),
        },
    ),
    "old weight norm": (
        lambda: weight_norm(nn.Linear(8, 4)),
        {"bias": one_over_root(8), "weight_g": None, "weight_v": kaiming(8)},
    ),
    "orthogonal_": (lambda: Written(nn.init.orthogonal_, 6, 4), {"w": None}),
    "eye_": (lambda: Written(nn.init.eye_, 6, 4), {"w": None}),
    "dirac_": (lambda: Written(nn.init.dirac_, 4, 3, 3), {"w": (ZERO, ONE)}),
}


def filled(name: str) -> nn.Module:
    """From NaN, by a recipe."""
    make, _ = MODULES[name]
    model = make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    recipe = fastinit.record(make)
    fastinit.init_model_(model, recipe, seed=SEED)
    assert fastinit.verify_model_(model, recipe, seed=SEED)
    return model


@OLD
@pytest.mark.parametrize("name", MODULES)
def test_laws_are_those_of_the_constructor(name: str) -> None:
    make, laws = MODULES[name]
    recipe = fastinit.record(make)
    assert [entry.name for entry in recipe] == [name for name, _ in make().named_parameters()]
    for entry in recipe:
        expected = laws[entry.name]
        if expected is None:
            assert entry.kind == "derived", entry.name
        elif isinstance(expected, tuple):
            assert {tile.law for tile in entry.tiles} == {*expected}, entry.name
        else:
            assert [tile.law for tile in entry.tiles] == [expected], entry.name


@OLD
@pytest.mark.parametrize("name", MODULES)
def test_recorded_is_built(name: str) -> None:
    """Nothing of the poison is left, and no generator has moved."""
    before = torch.get_rng_state()
    built, _ = fastinit.build(MODULES[name][0], seed=SEED)
    after = torch.get_rng_state()
    recorded = filled(name)
    for (key, one), (_, two) in zip(recorded.named_parameters(), built.named_parameters(), strict=True):
        assert bool(one.isfinite().all()), key
        assert_same_bits(one.detach(), two.detach())
    assert_same_bits(before, after)


@pytest.mark.parametrize(
    "name", [name for name in MODULES if "weight norm" not in name and name != "spectral norm" and name != "encoder"]
)
def test_a_module_on_meta_is_recorded_as_one_that_is_built(name: str) -> None:
    """By its own reset_parameters. The norms of weights are of constructors alone, and so are copies of layers."""
    make, _ = MODULES[name]
    with torch.device("meta"):
        model = make()
    assert not fastinit.record(model).diff(fastinit.record(make))


def test_layers_on_meta_have_numbers_of_their_own() -> None:
    with torch.device("meta"):
        model = MODULES["encoder"][0]()
    recipe = fastinit.record(model)
    assert recipe.kinds() == {"law": 12, "constant": 12}
    assert not any("shares" in entry.note for entry in recipe)


def test_an_orthogonal_matrix_is_one() -> None:
    w = filled("orthogonal_").get_parameter("w").detach().double()
    torch.testing.assert_close(w.T @ w, torch.eye(4, dtype=torch.float64), rtol=0, atol=ROUNDING)


def test_ones_are_where_torch_has_them() -> None:
    for name, function, shape in (("eye_", nn.init.eye_, (6, 4)), ("dirac_", nn.init.dirac_, (4, 3, 3))):
        assert_same_bits(filled(name).get_parameter("w").detach(), function(torch.empty(shape)))


def test_what_the_meta_device_cannot_run_is_no_other_way() -> None:
    """torch's parametrizations catch NotImplementedError, and go on without."""

    def make() -> nn.Module:
        return parametrizations.orthogonal(nn.Linear(8, 4))

    message = r'init: expected operators that the meta device has, got aten.geqrf.default; record with device="cpu"'
    with pytest.raises(RuntimeError, match=message):
        fastinit.record(make)
    entry = fastinit.record(make, device="cpu")["parametrizations.weight.original"]
    assert {tile.law for tile in entry.tiles} == {Constant(-1.0), ZERO}
