"""Presets: each is what transformers makes of the published config, and has the published number of parameters."""

import json
import math
from collections import Counter

import pytest

from fastinit.checkpoint.preset import of_preset, recipe_of
from fastinit.cli.framework import live_of
from fastinit.law.distributions import Normal, TruncatedNormal
from fastinit.law.transformed import Constant
from fastinit.model.plan import plan_of
from fastinit.model.planned import Planned
from fastinit.model.presets import expanded, preset, presets
from fastinit.model.roles import Role, block_of
from fastinit.model.rules import METHODS
from fastinit.model.scheme import Scheme
from fastinit.model.skeleton import build
from fastinit.stream import Key

PUBLISHED = {
    "olmoe-1b-7b": 6_919_161_856,
    "mixtral-8x7b": 46_702_792_704,
    "qwen3-30b-a3b": 30_532_122_624,
    "gpt-oss-120b": 116_829_156_672,
    "deepseek-v3": 671_026_419_200,  # without the layer that predicts one more token
}
LAYERS = {
    "deepseek-v3": 4,
    "qwen3-30b-a3b": 2,
}  # the first with experts of each; their files are tens of thousands of tensors
BY_HAND = {  # embedding and output, one block, the last norm
    "olmoe-1b-7b": (2 * 50304 * 2048, 4 * 2048**2 + 2 * 2048 + 64 * 2048 + 64 * 3 * 2048 * 1024 + 2 * 2048, 2048),
    "mixtral-8x7b": (
        2 * 32000 * 4096,
        2 * 4096 * 4096 + 2 * 1024 * 4096 + 8 * 4096 + 8 * 3 * 4096 * 14336 + 2 * 4096,
        4096,
    ),
    "qwen3-30b-a3b": (
        2 * 151936 * 2048,
        2 * 4096 * 2048 + 2 * 512 * 2048 + 2 * 128 + 128 * 2048 + 128 * 3 * 2048 * 768 + 2 * 2048,
        2048,
    ),
    "tiny-moe": (2 * 331 * 40, 2 * 40 * 40 + 2 * 8 * 40 + 2 * 8 + 5 * 40 + 5 * 3 * 40 * 13 + 2 * 40, 40),
}


@pytest.fixture(scope="module")
def of_transformers(tmp_path_factory):
    """What transformers builds from the config of a preset, of some layers, and records."""
    known = {}

    def live(name, layers):
        if (name, layers) not in known:
            folder = tmp_path_factory.mktemp(name)
            config = preset(name).config_of(layers, preset(name).dtype)
            (folder / "config.json").write_text(json.dumps(config), "utf-8")
            known[name, layers] = live_of(str(folder), None)
        return known[name, layers]

    return live


@pytest.mark.parametrize("name", sorted(presets()))
def test_a_preset_is_what_transformers_makes_of_its_config(name, of_transformers):
    known = preset(name)
    theirs, ours = of_transformers(name, known.num_layers), of_preset(known)
    assert not ours.recipe.diff(theirs.recipe)
    assert ours.recipe == theirs.recipe
    assert ours.buffers == theirs.buffers
    found = [
        {key: (tuple(tensor.shape), tensor.dtype, tensor.is_meta) for key, tensor in live.tensors.items()}
        for live in (ours, theirs)
    ]
    assert list(found[0].items()) == list(found[1].items())


@pytest.mark.parametrize("name", sorted(presets()))
def test_its_files_are_those_that_transformers_writes(name, of_transformers):
    """In their order, each as the same part of the live model."""
    known = preset(name)
    layers = LAYERS.get(name, known.num_layers)
    ours, theirs = of_preset(known, layers), of_transformers(name, layers)
    assert list(ours.layout("hf").items()) == list(theirs.layout("hf").items())


@pytest.mark.parametrize("name", sorted(presets()))
def test_number_of_parameters(name):
    known = preset(name)
    assert known.numel(known.num_layers) == known.parameters == PUBLISHED.get(name, known.parameters)
    if name in BY_HAND:
        tables, block, norm = BY_HAND[name]
        for layers in (0, 1, known.num_layers):
            assert known.numel(layers) == tables + layers * block + norm
    files = Counter(row["name"] for row in known.published())
    assert set(files.values()) == {1}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_sizes_name_their_source(name):
    found = preset(name)
    assert found.sources[0] == f"https://huggingface.co/{found.model}/blob/main/config.json"
    assert "quantization_config" not in found.config
    assert "auto_map" not in found.config  # whose code nobody asked for


@pytest.mark.parametrize("name", sorted(presets()))
def test_no_two_parameters_share_a_stream(name):
    names = [name for name, _ in build(preset(name)).named_parameters()]
    assert len({Key.of(name).stream for name in names}) == len(names)


@pytest.mark.parametrize("name", sorted(presets()))
def test_fewer_layers_are_a_part_of_the_whole(name):
    """Every law and key is the whole model's, whose number of blocks it tells; by each method, and by its own recipe."""
    known = preset(name)
    for rules in (*(Scheme(method, seed=3, roles=known.patterns) for method in METHODS), recipe_of(known).rules(3)):
        whole = {p.name: (p.law, p.key, p.global_shape) for p in plan_of(build(known), rules)}
        part = {p.name: (p.law, p.key, p.global_shape) for p in plan_of(build(known, 2), rules)}
        assert part == {found: whole[found] for found in whole if (block_of(found) or 0) < 2}
    assert [row["name"] for row in known.published(2)] == [
        row["name"] for row in known.published() if (block_of(row["name"]) or 0) < 2
    ]


def test_the_config_is_of_the_layers_and_the_dtype_that_are_asked_for():
    config = preset("gpt-oss-120b").config_of(3, "float32")
    assert config["num_hidden_layers"] == len(config["layer_types"]) == 3
    assert config["dtype"] == "float32"


def test_an_unknown_preset_is_told_the_known_ones():
    with pytest.raises(ValueError, match=r"preset: expected one of deepseek-v3, .*, got 'gpt'"):
        preset("gpt")


@pytest.mark.parametrize("layers", [-1, 17])
def test_a_wrong_number_of_layers(layers):
    with pytest.raises(ValueError, match=rf"layers: .* 16 of olmoe-1b-7b, got {layers}"):
        build(preset("olmoe-1b-7b"), layers)


def test_patterns_stand_for_one_layer_after_another():
    rows = [
        {"name": "a"},
        {"name": "h.{2..3}.b"},
        {"name": "h.{2..3}.c.{0..1}", "of": "h.{0}.c[{1}]"},
        {"name": "h.{4..4}.b"},
    ]
    found = [(row["name"], row.get("of")) for row in expanded(rows, 9)]
    layers = [[(f"h.{n}.b", None), *((f"h.{n}.c.{k}", f"h.{n}.c[{k}]") for k in (0, 1))] for n in (2, 3)]
    assert found == [("a", None), *layers[0], *layers[1], ("h.4.b", None)]
    assert [row["name"] for row in expanded(rows, 3)] == ["a", "h.2.b", "h.2.c.0", "h.2.c.1"]


# The std of each kind in block 2 (the third) of tiny-moe, by hand: d_model 40, hidden 13, 3 blocks; std 0.03.
DEPTH, LAST = 0.03 / math.sqrt(6), 0.03 / math.sqrt(2 * 3)
STDS = {
    # embedding; q, k, v; attention out; router; w1 and w3; w2
    "normal": (0.03, 0.03, 0.03, 0.03, 0.03, 0.03),
    "normalized": (40**-0.5, 40**-0.5, 40**-0.5 / math.sqrt(6), 0.03, 0.03, 0.03),
    "llama": (1.0, 0.03, DEPTH, DEPTH, DEPTH, DEPTH),
    "llama_depth": (1.0, 0.03, LAST, LAST, LAST, LAST),
    "fan_in": (1.0, 40**-0.5, 40**-0.5, 40**-0.5, 40**-0.5, 13**-0.5),
}
ROLES = (
    Role.EMBEDDING,
    Role.ATTENTION_IN,
    Role.ATTENTION_OUT,
    Role.ROUTER,
    Role.EXPERT_UP_GATE,
    Role.EXPERT_W2,
)


def planned_of(method: str, role: Role, block: int | None) -> Planned:
    plan = plan_of(build(preset("tiny-moe")), Scheme(method, std=0.03))
    return next(planned for planned in plan if planned.role == role.value and block_of(planned.name) == block)


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


# Inputs of the layers that other presets have: their roles and layouts are in the presets' files.
@pytest.mark.parametrize(
    ("name", "parameter", "inputs"),
    [
        ("gpt-oss-120b", "model.layers.0.mlp.experts.gate_up_proj", 2880),
        ("gpt-oss-120b", "model.layers.0.mlp.experts.down_proj", 2880),
        ("gpt-oss-120b", "model.layers.0.self_attn.sinks", 4096),
        ("deepseek-v3", "model.layers.3.self_attn.kv_b_proj.weight", 512),
        ("deepseek-v3", "model.layers.3.mlp.experts.down_proj", 2048),
        ("deepseek-v3", "model.layers.3.mlp.experts.gate_up_proj", 7168),
    ],
)
def test_fans_of_other_layers(name: str, parameter: str, inputs: int) -> None:
    known = preset(name)
    plan = plan_of(build(known, 4), Scheme("fan_in", roles=known.patterns))
    assert next(planned.law.std for planned in plan if planned.name == parameter) == inputs**-0.5
