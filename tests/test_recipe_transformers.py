"""Recipes of transformers: its own laws, for every parameter of every tiny model, and one set of bits by every way."""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import NormalDist

import gloo_ranks
import pytest
import torch
import transformers
from laws import assert_same_bits
from marked import Marked, box_of, mark_of
from tiny_transformers import MOE, TINY, config_of, model_of
from torch import Tensor, nn

import fastinit
from fastinit.law.distributions import DISTRIBUTIONS, Distribution, Normal, TruncatedNormal, Uniform

SEED = 11
ROUNDING = 2.0**-20  # relative: of a law's numbers, and of what torch computes of them, in fp32
SINES = 2.0**-17  # absolute: of sines of numbers up to 64, which transformers computes in fp32
BEYOND = 20  # elements of a law that are expected beyond a number: none is, with a probability of e**-20
FILLS = {Normal: fastinit.normal_, TruncatedNormal: fastinit.trunc_normal_, Uniform: fastinit.uniform_}

# What transformers' initialisation does not write to, but only a constructor: a model that is built on the meta device
# and then given memory has there whatever was in it.
LEFT_AS_MEMORY = {
    "clip": ["logit_scale"],
    "wav2vec2": [f"encoder.pos_conv_embed.conv.parametrizations.weight.original{k}" for k in (0, 1)],
}


@contextmanager
def poisoned() -> Iterator[None]:
    """Within it, new memory is NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def emptied(config: transformers.PretrainedConfig) -> nn.Module:
    """A model that was built on the meta device, with NaN in every parameter."""
    with torch.device("meta"):
        model = model_of(config)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    return model


def assert_same_parameters(got: nn.Module, expected: nn.Module) -> None:
    """Under every name, tied ones too; and nothing of the poison."""
    wanted = dict(expected.named_parameters(remove_duplicate=False))
    found = dict(got.named_parameters(remove_duplicate=False))
    assert found.keys() == wanted.keys()
    for name, parameter in found.items():
        assert bool(wanted[name].isfinite().all()), name
        assert_same_bits(parameter.detach(), wanted[name].detach())


def marked(config: transformers.PretrainedConfig, sigmas: float) -> dict[str, Tensor]:
    with poisoned(), Marked(sigmas):
        return {name: parameter.detach().double() for name, parameter in model_of(config).named_parameters()}


def test_there_are_many_models() -> None:
    assert len(TINY) >= 67
    assert len(MOE) >= 30


@pytest.mark.parametrize("name", TINY)
def test_laws_are_those_of_the_framework(name: str) -> None:
    """Every number of every law, read off a run of transformers that fastinit has no part in."""
    config = config_of(name)
    recipe = fastinit.record(lambda: model_of(config))
    assert recipe.random == ()
    low, high = marked(config, -1.0), marked(config, 1.0)
    assert [entry.name for entry in recipe] == list(low)
    for entry in recipe:
        if entry.computed is not None:
            continue
        assert entry.tiles, entry.name
        for tile in entry.tiles:
            for sigmas, seen in ((-1.0, low), (1.0, high)):
                box = box_of(seen[entry.name], tile.offset, tile.shape)
                marks = mark_of(tile.law, sigmas)
                assert any(bool((box - mark).abs().le(ROUNDING * abs(mark)).all()) for mark in marks), (
                    f"{entry.name}: {tile.law}, but {box.min()} to {box.max()}"
                )


@pytest.mark.parametrize("name", TINY)
def test_samples_are_cut_off_where_their_laws_are(name: str) -> None:
    """A sample of transformers' own lies within the bounds, and reaches them. What no draw has a part in is the same."""
    config = config_of(name)
    recipe = fastinit.record(lambda: model_of(config))
    torch.manual_seed(1)
    own = {name: parameter.detach().double() for name, parameter in model_of(config).named_parameters()}
    for entry in recipe:
        if entry.computed is not None and not entry.computed.sources:
            torch.testing.assert_close(own[entry.name], entry.computed.value(SEED), rtol=ROUNDING, atol=SINES)
        for tile in entry.tiles:
            box = box_of(own[entry.name], tile.offset, tile.shape)
            if isinstance(tile.law, DISTRIBUTIONS) and box.numel() > 2 * BEYOND:
                tail = BEYOND / box.numel()
                least, low, high, most = (quantile(tile.law, level) for level in (0.0, tail, 1 - tail, 1.0))
                assert least - ROUNDING <= box.min() <= low, (entry.name, tile.law)
                assert high <= box.max() <= most + ROUNDING, (entry.name, tile.law)


def quantile(law: Distribution, level: float) -> float:
    """The number that an element lies below with this probability."""
    if isinstance(law, Uniform):
        return law.a + level * (law.b - law.a)
    a, b = (law.a, law.b) if isinstance(law, TruncatedNormal) else (-math.inf, math.inf)
    if level in (0.0, 1.0):
        return b if level else a
    low, high = (math.erf((bound - law.mean) / law.std / math.sqrt(2)) / 2 + 0.5 for bound in (a, b))
    return NormalDist(law.mean, law.std).inv_cdf(low + level * (high - low))


@pytest.mark.parametrize("name", TINY)
def test_every_way_gives_the_same_bits(name: str) -> None:
    config = config_of(name)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    recipe = fastinit.record(lambda: model_of(config))
    with poisoned():
        built, report = fastinit.build(model_of, config, seed=SEED)
    assert_same_bits(torch.get_rng_state(), before)
    assert [row.name for row in report.rows] == [entry.name for entry in recipe]

    filled = emptied(config)
    filled.tie_weights()
    fastinit.init_model_(filled, recipe, seed=SEED)
    assert_same_parameters(filled, built)
    assert fastinit.verify_model_(built, recipe, seed=SEED)

    torch.manual_seed(2)
    before = torch.get_rng_state()
    live = emptied(config)
    left = LEFT_AS_MEMORY.get(name, [])
    if left:
        with pytest.raises(ValueError, match=f"did not write these {len(left)}(?s:.*){left[0]}"):
            initialise(live, seed=SEED)
        return
    initialise(live, seed=SEED)
    assert_same_bits(torch.get_rng_state(), before)
    assert_same_parameters(live, built)

    for entry in recipe:
        if len(entry.tiles) == 1 and isinstance(entry.tiles[0].law, DISTRIBUTIONS) and entry.kind == "law":
            law, key = entry.tiles[0].law, fastinit.Key.of(entry.name, seed=SEED)
            alone = FILLS[type(law)](torch.empty(entry.shape), *law.parameters(), key=key)
            assert_same_bits(built.get_parameter(entry.name).detach(), alone)


def initialise(model: nn.Module, seed: int) -> None:
    with fastinit.keyed(model, seed=seed):
        model.initialize_weights()
        model.tie_weights()


def test_numbers_that_a_constructor_writes_are_laws_and_not_computed() -> None:
    """A scalar made of a Python number; a bias that is padded by nothing."""
    for name, parameter in (("clip", "logit_scale"), ("bert", "cls.predictions.bias")):
        config = config_of(name)
        entry = fastinit.record(lambda config=config: model_of(config))[parameter]
        assert entry.kind == "constant", parameter


def test_a_second_initialisation_writes_nothing_and_is_refused() -> None:
    """transformers marks what it has initialised, and leaves it out from then on."""
    model = model_of(config_of("mixtral"))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with pytest.raises(ValueError, match=r"did not write these 21(?s:.*)model.embed_tokens.weight"):
        initialise(model, seed=SEED)
    for name, parameter in model.named_parameters():
        assert_same_bits(parameter.detach(), before[name])


def test_what_is_loaded_stays_and_a_new_head_is_filled(tmp_path: Path) -> None:
    trunk = transformers.AutoModel.from_config(config_of("llama"))
    trunk.save_pretrained(tmp_path)
    load = transformers.AutoModelForSequenceClassification.from_pretrained
    model, report = fastinit.build(load, tmp_path, seed=SEED)
    assert {row.role for row in report.rows if row.name.startswith("model.")} == {"loaded"}
    for name, parameter in trunk.named_parameters():
        assert_same_bits(model.model.get_parameter(name).detach(), parameter.detach())
    head = fastinit.normal_(torch.empty(2, 32), std=0.02, key=fastinit.Key.of("score.weight", seed=SEED))
    assert_same_bits(model.score.weight.detach(), head)


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(os, "fork"), reason="forks its ranks")
def test_a_sharded_root() -> None:
    """Where transformers itself goes wrong, and a recipe cannot."""
    gloo_ranks.run("transformers_cases.py", world_size=2)
