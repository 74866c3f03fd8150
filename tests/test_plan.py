"""fastinit plan: the laws of a model's own initialisation, printed, stored and compared."""

from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

import fastinit
from fastinit import __main__ as cli
from fastinit.checkpoint.preset import recipe_of
from fastinit.model.presets import preset, presets

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 40}


@pytest.fixture
def config(tmp_path):
    """A folder with the config of a small mixture of experts, as transformers stores it."""
    config = AutoConfig.for_model("mixtral", num_key_value_heads=1, num_local_experts=4, **SIZES)
    config.architectures = ["MixtralForCausalLM"]
    config.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def said(capsys):
    def said(*arguments: object) -> tuple[int, str]:
        code = cli.main(["plan", *map(str, arguments)])
        return code, capsys.readouterr().out

    return said


@pytest.mark.parametrize("file", ["", "config.json"])
def test_the_laws_of_a_config_are_those_of_the_model_that_transformers_builds(config, said, file):
    known = AutoConfig.from_pretrained(config)
    recipe = fastinit.record(lambda: AutoModelForCausalLM.from_config(known))
    code, out = said(config / file)
    assert code == 0
    assert out == f"{recipe}\n"
    assert "MixtralForCausalLM" in out


def test_a_config_without_an_architecture_is_one_of_a_causal_language_model(config, said):
    text = (config / "config.json").read_text("utf-8")
    (config / "config.json").write_text(text.replace("MixtralForCausalLM", "SomethingElse"), "utf-8")
    assert said(config)[1].startswith("MixtralForCausalLM by ")


def test_a_method_gives_the_roles_of_a_config(config, said):
    code, out = said(config, "--rules", "llama")
    assert code == 0
    assert "router" in out


@pytest.mark.parametrize("name", sorted(presets()))
def test_a_preset_has_laws_of_its_own(said, name):
    assert said(name) == (0, f"{recipe_of(preset(name))}\n")
    assert said(name, "--layers", "2") == (0, f"{recipe_of(preset(name), 2)}\n")


def test_laws_are_stored_read_and_compared(config, said, tmp_path):
    file = tmp_path / "laws.json"
    _, out = said(config, "--save", file)
    assert said("--recipe", file) == said(config, "--recipe", file) == (0, out)
    assert said(config, "--diff", file) == (0, "the same laws\n")
    known = config / "config.json"
    known.write_text(
        known.read_text("utf-8").replace('"initializer_range": 0.02', '"initializer_range": 0.03'), "utf-8"
    )
    code, lines = said(config, "--diff", file)
    assert code == 1
    assert "lm_head.weight: normal, std 0.03, not normal, std 0.02" in lines


def test_a_preset_is_compared_with_what_was_stored_of_one(said, tmp_path):
    file = tmp_path / "laws.json"
    assert said("tiny-moe", "--save", file)[0] == 0
    assert said("tiny-moe", "--diff", file) == (0, "the same laws\n")
    code, lines = said("tiny-moe", "--layers", "2", "--diff", file)
    assert code == 1
    assert "model.layers.2.mlp.gate.weight: only in the other" in lines


def test_stored_laws_of_another_model_are_refused(config, said, tmp_path, capsys):
    file = tmp_path / "laws.json"
    assert said("tiny-moe", "--save", file)[0] == 0
    assert said(config, "--recipe", file)[0] == 2
    said("tiny-moe", "--recipe", file)
    assert cli.main(["plan", str(config), "--recipe", str(file)]) == 2
    assert "recipe: expected parameters of the shapes that were recorded" in capsys.readouterr().err


def test_computed_values_are_not_stored(said, monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    assert cli.main(["plan", "planned_model:orthogonal", "--save", str(tmp_path / "laws.json")]) == 2
    assert "--save: recipe: expected laws to store" in capsys.readouterr().err
    assert not (tmp_path / "laws.json").exists()


def test_a_parameter_that_nothing_writes_is_named(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    assert cli.main(["plan", "planned_model:unknown"]) == 2
    first, name = capsys.readouterr().err.splitlines()
    assert first.startswith("fastinit plan: error: SOURCE: expected the constructor to write every parameter")
    assert "\\x1b[2J" in name


def test_what_is_no_config_is_named_in_one_line(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "nothing known"}', "utf-8")
    assert cli.main(["plan", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "SOURCE: expected a config of transformers" in said
    assert said.count("\n") == 1
