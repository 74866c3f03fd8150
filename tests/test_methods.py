"""Every rule against values worked out by hand, the layouts of expert banks, and the call forms on plain objects."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from laws import assert_same_bits
from torch import nn

import fastinit
from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.transformed import Constant, InverseSoftplusOfLogUniform, LogOfUniform
from fastinit.model import filling
from fastinit.model.filling import fill_law_
from fastinit.model.methods import InitMethod, init_linear
from fastinit.model.roles import Role, matches, named_by
from fastinit.model.rules import METHODS, Sizes, law_of

# 64 wide: 1/8. 8 blocks: sqrt(2 * 8) = 4. Block 1: sqrt(2 * (1 + 1)) = 2. 256 inputs: 1/16.
SIZES = Sizes(std=0.02, d_model=64, num_blocks=8, block=1, fan_in=256, embed_scale=4.0)

BY_HAND = {
    #                       normal  normalized     llama     llama_depth  fan_in
    Role.EMBEDDING:        (0.02,   1 / 8,         1.0,      1.0,         1 / 4),
    Role.FINAL_OUTPUT:     (0.02,   1 / 8,         1 / 8,    1 / 8,       1 / 8),
    Role.ATTENTION_IN:     (0.02,   1 / 8,         0.02,     0.02,        1 / 16),
    Role.ATTENTION_GATE:   (0.02,   1 / 8,         0.02,     0.02,        1 / 16),
    Role.ATTENTION_OUT:    (0.02,   1 / 32,        0.005,    0.01,        1 / 16),
    Role.ATTENTION_SINKS:  (0.02,   1 / 32,        0.005,    0.01,        1 / 16),
    Role.FEED_FORWARD_W1:  (0.02,   1 / 8,         0.02,     0.02,        1 / 16),
    Role.FEED_FORWARD_W3:  (0.02,   1 / 8,         0.005,    0.01,        1 / 16),
    Role.FEED_FORWARD_W2:  (0.02,   1 / 32,        0.005,    0.01,        1 / 16),
    Role.ROUTER:           (0.02,   0.02,          0.005,    0.01,        1 / 16),
    Role.EXPERT_W1:        (0.02,   0.02,          0.005,    0.01,        1 / 16),
    Role.EXPERT_W3:        (0.02,   0.02,          0.005,    0.01,        1 / 16),
    Role.EXPERT_UP_GATE:   (0.02,   0.02,          0.005,    0.01,        1 / 16),
    Role.EXPERT_W2:        (0.02,   0.02,          0.005,    0.01,        1 / 16),
    Role.LATENT:           (0.02,   0.02,          0.005,    0.01,        1 / 16),
    Role.SHARED_EXPERT:    (0.02,   0.02,          0.005,    0.01,        0.02),
    Role.SHARED_ROUTER:    (0.02,   0.02,          0.005,    0.01,        0.02),
    Role.RECURRENT_IN:     (0.02,   1 / 8,         0.02,     0.02,        None),
    Role.RECURRENT_CONV:   (0.02,   1 / 8,         0.02,     0.02,        None),
    Role.RECURRENT_OUT:    (0.02,   1 / 32,        0.005,    0.01,        None),
}  # fmt: skip

FIXED = {
    Role.A_LOG: LogOfUniform(0.0, 16.0),
    Role.DT_BIAS: InverseSoftplusOfLogUniform(0.001, 0.1, 0.0001),
    Role.NORM: Constant(1.0),
    Role.SCALE: Constant(1.0),
    Role.BIAS: Constant(0.0),
    Role.WIDTH_SCALE: Constant(1 / 8),
    Role.TORCH_BIAS: Uniform(-1 / 16, 1 / 16),
    Role.UNTOUCHED: None,
}


def as_torch_fills(linear: nn.Linear) -> Uniform:
    """The uniform that torch fills a weight with, from the bound that it computes."""
    bounds: list[float] = []
    with mock.patch.object(torch.Tensor, "uniform_", lambda tensor, a, b, generator: bounds.extend((a, b))):
        nn.init.kaiming_uniform_(linear.weight, a=math.sqrt(5))
    return Uniform(*bounds)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("role", Role)
def test_rule(role: Role, method: str) -> None:
    if role is Role.TORCH_LINEAR:
        assert law_of(method, role, SIZES) == as_torch_fills(nn.Linear(256, 1))
        return
    if role in FIXED:
        assert law_of(method, role, SIZES) == FIXED[role]
        return
    std = BY_HAND[role][METHODS.index(method)]
    if std is None:
        with pytest.raises(ValueError, match="method: expected one that has a rule for a recurrent"):
            law_of(method, role, SIZES)
        return
    plain = role is Role.ATTENTION_SINKS or (role is Role.EMBEDDING and method != "normal")
    expected = Normal(0.0, std) if plain else TruncatedNormal(0.0, std, -3 * std, 3 * std)
    assert law_of(method, role, SIZES) == expected


def test_methods_are_the_columns_of_the_table() -> None:
    assert tuple(InitMethod) == METHODS
    assert [str(method) for method in InitMethod] == list(METHODS)


def test_embeddings_without_a_scale() -> None:
    assert law_of("fan_in", Role.EMBEDDING, Sizes()) == Normal(0.0, 1.0)


@pytest.mark.parametrize(
    ("method", "role", "size"),
    [
        ("llama", Role.ATTENTION_OUT, "num_blocks"),
        ("llama_depth", Role.EXPERT_W2, "block"),
        ("normalized", Role.ATTENTION_IN, "d_model"),
        ("fan_in", Role.EXPERT_W1, "fan_in"),
    ],
)
def test_a_size_that_is_missing_is_named(method: str, role: Role, size: str) -> None:
    with pytest.raises(ValueError, match=f"^{size}: "):
        law_of(method, role, Sizes())


def test_unknown_method() -> None:
    with pytest.raises(ValueError, match=r"method: expected one of normal, .* got 'xavier'"):
        law_of("xavier", Role.NORM, SIZES)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("blocks.*.w_down", "blocks.12.w_down", True),
        ("blocks.*.w_down", "blocks.1.attention.w_down", False),
        ("**.norm.weight", "norm.weight", True),
        ("**.*norm.weight", "a.b.post_norm.weight", True),
        ("**.{gate,up}_proj.weight", "mlp.up_proj.weight", True),
        ("a.b", "axb", False),
    ],
)
def test_patterns(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


def test_experts_of_another_kind_of_block_are_not_guessed() -> None:
    name = "blocks.1.attention.routed_experts.w_down"  # OLMo-core's Nemotron, whose rules are its own
    assert named_by([name], set()) == {name: None}


class Recorder:
    """In place of fill_: which law each tensor was to get."""

    def __init__(self) -> None:
        self.laws: dict[int, Any] = {}

    def __call__(self, tensor: torch.Tensor, law: Any, **_: Any) -> torch.Tensor:
        self.laws[id(tensor)] = law
        return tensor

    def std(self, tensor: torch.Tensor) -> float:
        return self.laws[id(tensor)].std


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(filling, "fill_", recorder)
    return recorder


ARGUMENTS: dict[str, Any] = dict(d_model=64, block_idx=1, num_blocks=8, std=0.02)


@pytest.mark.parametrize("method", InitMethod)
def test_init_feed_forward(method: InitMethod, recorder: Recorder) -> None:
    m = SimpleNamespace(w1=nn.Linear(256, 4), w3=nn.Linear(256, 4), w2=nn.Linear(256, 64))
    method.init_feed_forward(m, **ARGUMENTS)
    for name, role in (("w1", Role.FEED_FORWARD_W1), ("w3", Role.FEED_FORWARD_W3), ("w2", Role.FEED_FORWARD_W2)):
        linear = getattr(m, name)
        assert recorder.std(linear.weight) == BY_HAND[role][METHODS.index(method)]
        assert not linear.bias.any()


@pytest.mark.parametrize("method", InitMethod)
def test_init_feed_forward_moe(method: InitMethod, recorder: Recorder) -> None:
    mlp = SimpleNamespace(w1=torch.empty(2), w2=torch.empty(2), w3=torch.empty(2), d_model=256, hidden_size=1024)
    m = SimpleNamespace(router=SimpleNamespace(weight=torch.empty(2), d_model=64), experts=SimpleNamespace(mlp=mlp))
    m.latent_down_proj, m.latent_up_proj = nn.Linear(64, 256), None
    method.init_feed_forward_moe(m, **ARGUMENTS)
    weights = (m.router.weight, m.latent_down_proj.weight, mlp.w1, mlp.w3, mlp.w2)
    fan_in_stds = (1 / 8, 1 / 8, 1 / 16, 1 / 16, 1 / 32)
    expected = fan_in_stds if method is InitMethod.fan_in else [BY_HAND[Role.EXPERT_W1][METHODS.index(method)]] * 5
    assert [recorder.std(weight) for weight in weights] == list(expected)


@pytest.mark.parametrize("method", InitMethod)
def test_init_embeddings_and_final_output(method: InitMethod, recorder: Recorder) -> None:
    embeddings, out = nn.Embedding(8, 64), nn.Linear(64, 8, bias=False)
    method.init_embeddings(embeddings, d_model=64, embed_scale=4.0, std=0.02)
    method.init_final_w_out(out, d_model=64, std=0.02)
    column = METHODS.index(method)
    assert recorder.std(embeddings.weight) == BY_HAND[Role.EMBEDDING][column]
    assert recorder.std(out.weight) == BY_HAND[Role.FINAL_OUTPUT][column]


def test_init_attention_asks_the_module() -> None:
    asked = {}
    m = SimpleNamespace(init_weights=asked.update)
    InitMethod.llama.init_attention(m, **ARGUMENTS)
    assert asked == {**ARGUMENTS, "init_method": InitMethod.llama, "generator": None}


def block_of_experts(ranks: int, rank: int) -> SimpleNamespace:
    """What init_moe_v2 reads of a block: 8 routed experts, of which a rank holds its own."""
    local = 8 // ranks
    routed = dict(num_experts=8, num_local_experts=local, ep_rank=rank, d_model=16, hidden_size=4)
    weights = dict(w_up_gate=torch.empty(local, 8, 16), w_down=torch.empty(local, 4, 16), b_up_gate=None, b_down=None)
    return SimpleNamespace(
        shared_experts_router=None,
        routed_experts_router=SimpleNamespace(weight=torch.empty(8 * 16), bias=torch.ones(8), d_model=16),
        latent_down_proj=None,
        latent_up_proj=None,
        routed_experts=SimpleNamespace(**routed, **weights),
        shared_experts=None,
    )


def test_init_moe_v2_gives_the_same_experts_at_any_degree() -> None:
    def experts(ranks: int, rank: int) -> torch.Tensor:
        b = block_of_experts(ranks, rank)
        InitMethod.fan_in.init_moe_v2(b, **ARGUMENTS, generator=torch.Generator().manual_seed(0))
        assert not b.routed_experts_router.bias.any()
        return b.routed_experts.w_up_gate

    parts = torch.cat([experts(4, rank) for rank in range(4)])
    torch.testing.assert_close(parts, experts(1, 0), rtol=0, atol=0)


@pytest.mark.parametrize("module", [nn.Linear(7, 5), nn.Conv1d(4, 4, 3, groups=4), nn.Linear(3, 3, bias=False)])
def test_init_linear(module: Any) -> None:
    for parameter in module.parameters():
        parameter.data.fill_(float("nan"))
    init_linear(module, std=0.5, generator=torch.Generator().manual_seed(1))
    first = module.weight.detach().clone()
    assert module.bias is None or not module.bias.any()
    assert float(first.abs().amax()) <= 1.5
    fastinit.init_linear(module, std=0.5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(module.weight.detach(), first, rtol=0, atol=0)


def unfit() -> nn.Parameter:
    return nn.Parameter(torch.zeros(1).expand(8))


def spoilt(place: str, value: Any) -> tuple[Callable[[], object], list[torch.Tensor]]:
    """A call of InitMethod's or init_linear with one thing wrong, and all tensors that it might write."""
    linears = {name: nn.Linear(8, 8) for name in ("w1", "w2", "w3", "latent_down_proj", "latent_up_proj")}
    m, block = SimpleNamespace(**linears), block_of_experts(1, 0)
    mlp = SimpleNamespace(w1=torch.zeros(8, 8), w2=torch.zeros(8, 8), w3=torch.zeros(8, 8), d_model=8, hidden_size=8)
    m.router, m.experts = SimpleNamespace(weight=torch.zeros(64), d_model=8), SimpleNamespace(mlp=mlp)
    block.routed_experts.b_up_gate, block.routed_experts.b_down = torch.zeros(8), torch.zeros(8)
    calls: dict[str, tuple[Callable[..., object], Any, list[Any]]] = {
        "linear": (init_linear, m.w1, [m.w1]),
        "final": (partial(InitMethod.llama.init_final_w_out, d_model=8), m.w1, [m.w1]),
        "feed_forward": (partial(InitMethod.llama.init_feed_forward, **ARGUMENTS), m, [m.w1, m.w2, m.w3]),
        "moe": (partial(InitMethod.llama.init_feed_forward_moe, **ARGUMENTS), m, [*linears.values(), m.router, mlp]),
        "v2": (
            partial(InitMethod.llama.init_moe_v2, **ARGUMENTS),
            block,
            [block.routed_experts_router, block.routed_experts],
        ),
    }
    call, *path = place.split(" ")
    function, module, written = calls[call]
    if path == ["ep_generator"]:
        function = partial(function, ep_generator=value)
    else:
        owner = module
        for part in path[:-1]:
            owner = getattr(owner, part)
        vars(owner).get("_parameters", {}).pop(path[-1], None)
        setattr(owner, path[-1], value)
    tensors = [held for owner in written for held in {**vars(owner), **vars(owner).get("_parameters", {})}.values()]
    return partial(function, module), [tensor for tensor in tensors if isinstance(tensor, torch.Tensor)]


@pytest.mark.parametrize(
    "place",
    [
        "linear bias",
        "final bias",
        "feed_forward w1 bias",
        "feed_forward w2 bias",
        "moe latent_up_proj bias",
        "moe experts mlp w3",
        "v2 routed_experts_router bias",
        "v2 routed_experts w_down",
        "v2 routed_experts b_down",
        "v2 ep_generator",
    ],
)
def test_a_tensor_that_cannot_be_filled_leaves_the_others_as_they_are(place: str) -> None:
    call, tensors = spoilt(place, unfit())
    before = [tensor.detach().clone() for tensor in tensors]
    with pytest.raises((TypeError, ValueError), match=r"^(tensor|generator): expected"):
        call()
    assert len(before) > 1
    for tensor, was in zip(tensors, before, strict=True):
        assert_same_bits(tensor.detach(), was)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("role", Role)
def test_no_model_has_a_block_beyond_its_number_of_blocks(role: Role, method: str) -> None:
    """Where the rule depends on either; the last one is right."""

    def asked(block: int) -> Any:
        try:
            return law_of(method, role, replace(SIZES, num_blocks=4, block=block))
        except ValueError as error:
            return str(error)

    last, beyond = asked(3), asked(4)
    if isinstance(last, str):  # a method without a rule for it
        assert last == beyond
    elif last != asked(2) or last != law_of(method, role, replace(SIZES, block=3)):
        assert beyond.startswith("num_blocks: expected those of the whole model, more than 4 as there is a block of")
    else:
        assert beyond == last


@pytest.mark.parametrize("law", [LogOfUniform(1.0, 16.0), InverseSoftplusOfLogUniform(0.001, 0.1, 0.0001)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transformed_law(law: Any, dtype: torch.dtype) -> None:
    key = fastinit.Key(1, 2)
    tensor = fill_law_(torch.full((5, 7), float("nan"), dtype=dtype), law, key=key)
    source = fastinit.uniform_(torch.empty(5, 7), law.source.a, law.source.b, key=key).double()
    if isinstance(law, LogOfUniform):
        expected = source.log()
    else:
        step = 0.001 * 100.0**source  # 0.001 to 0.1, uniform in the logarithm
        expected = step.expm1().log()  # the inverse of softplus
    last_bit = torch.finfo(dtype).eps  # torch's log and ours may differ in the last bit of fp64, and then round apart
    torch.testing.assert_close(tensor, expected.to(dtype), rtol=last_bit, atol=0)
    part = fastinit.LocalShard((5, 7), (2, 1))
    shard = fill_law_(torch.empty(2, 3, dtype=dtype), law, key=key, shard=part)
    torch.testing.assert_close(shard, tensor[2:4, 1:4], rtol=0, atol=0)


def test_every_law_leaves_a_meta_tensor_alone() -> None:
    meta = torch.empty(4, device="meta")
    for law in (Constant(1.0), LogOfUniform(0.0, 16.0), Normal(0.0, 1.0), None):
        assert fill_law_(meta, law, key=fastinit.Key(1, 2)) is meta
