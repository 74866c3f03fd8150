"""Presets: the published architectures as models, parameter by parameter, and their rules."""

import math

import pytest

from fastinit.law.distributions import Normal, TruncatedNormal
from fastinit.law.transformed import Constant
from fastinit.model.names import Like
from fastinit.model.plan import plan_of
from fastinit.model.planned import Planned
from fastinit.model.presets import preset, presets
from fastinit.model.roles import Role
from fastinit.model.rules import METHODS
from fastinit.model.scheme import Scheme
from fastinit.model.skeleton import build, numel
from fastinit.stream import Key

PUBLISHED = ("olmoe-1b-7b", "mixtral-8x7b", "qwen3-30b-a3b")

# Worked out by hand from the three config.json files: (embedding and output, one block, the last norm), blocks.
BY_HAND = {
    "olmoe-1b-7b": (
        2 * 50304 * 2048,
        4 * 2048 * 2048  # q, k, v, out: as many key and value heads as query heads
        + 2 * 2048  # q and k norm, over all heads
        + 64 * 2048  # router
        + 64 * 3 * 2048 * 1024  # experts
        + 2 * 2048,  # norms
        2048,
        16,
    ),
    "mixtral-8x7b": (
        2 * 32000 * 4096,
        2 * 4096 * 4096 + 2 * 1024 * 4096 + 8 * 4096 + 8 * 3 * 4096 * 14336 + 2 * 4096,
        4096,
        32,
    ),
    "qwen3-30b-a3b": (
        2 * 151936 * 2048,
        2 * 4096 * 2048 + 2 * 512 * 2048 + 2 * 128 + 128 * 2048 + 128 * 3 * 2048 * 768 + 2 * 2048,
        2048,
        48,
    ),
    "tiny-moe": (2 * 331 * 40, 2 * 40 * 40 + 2 * 8 * 40 + 2 * 8 + 5 * 40 + 5 * 3 * 40 * 13 + 2 * 40, 40, 3),
}
TOTALS = {"olmoe-1b-7b": 6_919_161_856, "mixtral-8x7b": 46_702_792_704, "qwen3-30b-a3b": 30_532_122_624}


def test_every_preset_is_worked_out_by_hand() -> None:
    assert set(BY_HAND) == set(presets())


@pytest.mark.parametrize("name", BY_HAND)
def test_number_of_parameters(name: str) -> None:
    tables, block, last_norm, blocks = BY_HAND[name]
    total = sum(parameter.numel() for parameter in build(preset(name)).parameters())
    assert total == preset(name).parameters == tables + blocks * block + last_norm
    assert total == TOTALS.get(name, total)
    for layers in (0, 1, 2):
        found = sum(parameter.numel() for parameter in build(preset(name), layers).parameters())
        assert found == numel(preset(name), layers) == tables + layers * block + last_norm


@pytest.mark.parametrize(
    ("name", "parameter", "shape"),
    [
        ("olmoe-1b-7b", "embeddings.weight", (50304, 2048)),
        ("olmoe-1b-7b", "blocks.15.attention.k_norm.weight", (2048,)),
        ("olmoe-1b-7b", "blocks.0.feed_forward_moe.experts.mlp.w1", (64, 2048, 1024)),
        ("olmoe-1b-7b", "blocks.0.feed_forward_moe.experts.mlp.w2", (64, 1024, 2048)),
        ("mixtral-8x7b", "blocks.31.attention.w_k.weight", (1024, 4096)),
        ("mixtral-8x7b", "blocks.31.feed_forward_moe.experts.mlp.w3", (8, 4096, 14336)),
        ("qwen3-30b-a3b", "blocks.47.attention.w_q.weight", (4096, 2048)),
        ("qwen3-30b-a3b", "blocks.47.attention.w_out.weight", (2048, 4096)),
        ("qwen3-30b-a3b", "blocks.47.attention.q_norm.weight", (128,)),
        ("qwen3-30b-a3b", "blocks.47.feed_forward_moe.router.weight", (128, 2048)),
        ("qwen3-30b-a3b", "lm_head.w_out.weight", (151936, 2048)),
    ],
)
def test_shapes(name: str, parameter: str, shape: tuple[int, ...]) -> None:
    assert build(preset(name)).get_parameter(parameter).shape == shape


@pytest.mark.parametrize("name", BY_HAND)
def test_models_are_of_the_published_dtype_and_take_no_memory(name: str) -> None:
    for parameter in build(preset(name)).parameters():
        assert parameter.is_meta
        assert str(parameter.dtype) == f"torch.{preset(name).dtype}"


@pytest.mark.parametrize("name", BY_HAND)
def test_no_two_parameters_share_a_name_or_a_stream(name: str) -> None:
    names = [name for name, _ in build(preset(name)).named_parameters()]
    assert len(set(names)) == len({Key.of(name).stream for name in names}) == len(names)


@pytest.mark.parametrize("name", BY_HAND)
def test_fewer_layers_are_a_part_of_the_whole(name: str) -> None:
    """Every law and key is the whole model's, whose number of blocks it tells."""
    for method in METHODS:
        scheme = Scheme(method, seed=3)
        whole = {p.name: (p.law, p.key, p.global_shape) for p in plan_of(build(preset(name)), scheme)}
        part = {p.name: (p.law, p.key, p.global_shape) for p in plan_of(build(preset(name), 2), scheme)}
        blocks = {name: Like().of(name).block or 0 for name in whole}
        assert part == {name: whole[name] for name in whole if blocks[name] < 2}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_name_their_source(name: str) -> None:
    found = preset(name)
    assert found.sources[0] == f"https://huggingface.co/{found.model}/blob/main/config.json"


def test_an_unknown_preset_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"preset: expected one of olmoe-1b-7b, .*, got 'gpt'"):
        preset("gpt")


@pytest.mark.parametrize("layers", [-1, 17])
def test_a_wrong_number_of_layers(layers: int) -> None:
    with pytest.raises(ValueError, match=rf"layers: .* 16 of olmoe-1b-7b, got {layers}"):
        build(preset("olmoe-1b-7b"), layers)


# The std of each kind in block 2 (the third) of tiny-moe, by hand: d_model 40, hidden 13, 3 blocks; std 0.03.
DEPTH, LAST = 0.03 / math.sqrt(6), 0.03 / math.sqrt(2 * 3)
STDS = {
    # embedding; q, k, v; attention out; router; w1; w2; w3
    "normal": (0.03, 0.03, 0.03, 0.03, 0.03, 0.03, 0.03),
    "normalized": (40**-0.5, 40**-0.5, 40**-0.5 / math.sqrt(6), 0.03, 0.03, 0.03, 0.03),
    "llama": (1.0, 0.03, DEPTH, DEPTH, DEPTH, DEPTH, DEPTH),
    "llama_depth": (1.0, 0.03, LAST, LAST, LAST, LAST, LAST),
    "fan_in": (1.0, 40**-0.5, 40**-0.5, 40**-0.5, 40**-0.5, 13**-0.5, 40**-0.5),
}
ROLES = (
    Role.EMBEDDING,
    Role.ATTENTION_IN,
    Role.ATTENTION_OUT,
    Role.ROUTER,
    Role.EXPERT_W1,
    Role.EXPERT_W2,
    Role.EXPERT_W3,
)


def planned_of(method: str, role: Role, block: int | None) -> Planned:
    plan = plan_of(build(preset("tiny-moe")), Scheme(method, std=0.03))
    return next(planned for planned in plan if planned.role == role.value and planned.part.found.block == block)


@pytest.mark.parametrize("method", METHODS)
def test_stds(method: str) -> None:
    for role, std in zip(ROLES, STDS[method], strict=True):
        law = planned_of(method, role, None if role is Role.EMBEDDING else 2).law
        if role is Role.EMBEDDING and method != "normal":
            assert law == Normal(0.0, std)
        else:
            assert law == TruncatedNormal(0.0, std, -3 * std, 3 * std)
    last = planned_of(method, Role.FINAL_OUTPUT, None).law
    assert isinstance(last, TruncatedNormal)
    assert last.std == (0.03 if method == "normal" else 40**-0.5)
    assert planned_of(method, Role.NORM, 2).law == Constant(1.0)


def test_llama_depth_depends_on_the_block() -> None:
    stds = [planned_of("llama_depth", Role.ROUTER, block).law.std for block in range(3)]
    assert stds == [0.03 / math.sqrt(2), 0.03 / math.sqrt(4), 0.03 / math.sqrt(6)]
