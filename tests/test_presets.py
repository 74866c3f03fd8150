"""Presets: the published architectures, parameter by parameter, and their rules."""

import math

import pytest

from fastinit.cli.rules import METHODS, rule_for
from fastinit.law.distributions import Normal, TruncatedNormal
from fastinit.model.presets import Kind, ParameterSpec, preset, presets
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
    total = sum(spec.numel for spec in preset(name).specs())
    assert total == preset(name).parameters == tables + blocks * block + last_norm
    assert total == TOTALS.get(name, total)
    for layers in (0, 1, 2):
        assert sum(spec.numel for spec in preset(name).specs(layers)) == tables + layers * block + last_norm


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
    assert {spec.name: spec.shape for spec in preset(name).specs()}[parameter] == shape


@pytest.mark.parametrize("name", BY_HAND)
def test_no_two_parameters_share_a_name_or_a_stream(name: str) -> None:
    specs = preset(name).specs()
    assert len({spec.name for spec in specs}) == len({Key.of(spec.name).stream for spec in specs}) == len(specs)


@pytest.mark.parametrize("name", BY_HAND)
def test_fewer_layers_are_a_part_of_the_whole(name: str) -> None:
    whole = preset(name).specs()
    assert [spec for spec in whole if spec.block is None or spec.block < 2] == preset(name).specs(2)


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
        preset("olmoe-1b-7b").specs(layers)


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
KINDS = (
    Kind.EMBEDDING,
    Kind.ATTENTION_IN,
    Kind.ATTENTION_OUT,
    Kind.ROUTER,
    Kind.EXPERT_W1,
    Kind.EXPERT_W2,
    Kind.EXPERT_W3,
)


def spec_of(kind: Kind, block: int | None) -> ParameterSpec:
    return next(spec for spec in preset("tiny-moe").specs() if spec.kind is kind and spec.block == block)


@pytest.mark.parametrize("method", METHODS)
def test_stds(method: str) -> None:
    for kind, std in zip(KINDS, STDS[method], strict=True):
        spec = spec_of(kind, None if kind is Kind.EMBEDDING else 2)
        law = rule_for(spec, preset("tiny-moe"), method, 0.03)
        if kind is Kind.EMBEDDING and method != "normal":
            assert law == Normal(0.0, std)
        else:
            assert law == TruncatedNormal(0.0, std, -3 * std, 3 * std)
    last = rule_for(spec_of(Kind.FINAL_OUTPUT, None), preset("tiny-moe"), method, 0.03)
    assert isinstance(last, TruncatedNormal)
    assert last.std == (0.03 if method == "normal" else 40**-0.5)
    assert rule_for(spec_of(Kind.NORM, 2), preset("tiny-moe"), method, 0.03) is None


def test_llama_depth_depends_on_the_block() -> None:
    stds = [rule_for(spec_of(Kind.ROUTER, b), preset("tiny-moe"), "llama_depth", 0.03).std for b in range(3)]
    assert stds == [0.03 / math.sqrt(2), 0.03 / math.sqrt(4), 0.03 / math.sqrt(6)]
