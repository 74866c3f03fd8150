"""Any source: what a preset, a config, a function and a stored recipe give init and plan to fill."""

import argparse
import json
import re
import sys
from pathlib import Path

import frameworks
import olmo_models
import pytest
import torch
from laws import assert_same_bits
from tiny_transformers import config_of

import fastinit
from fastinit import __main__ as cli
from fastinit.checkpoint.errors import UsageError
from fastinit.cli import in_memory
from fastinit.cli.digest import model_digest
from fastinit.cli.source import asked, contents_for

HERE = str(Path(__file__).parent)
DEEPSEEK = "deepseek_v3"


@pytest.fixture
def config(tmp_path):
    """The path of a folder with the config of a tiny model, with some keys set."""

    def folder(name, **keys):
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        (path / "config.json").write_text(json.dumps({**config_of(name).to_dict(), **keys}), "utf-8")
        return str(path)

    return folder


def options(command, *arguments):
    return cli.parser().parse_args([command, *map(str, arguments)])


def contents(*arguments):
    return contents_for(options("init", *arguments))


def filled(found, name):
    tensor = torch.empty(found.shape(name), dtype=found.dtypes[name])
    found.fill_(name, tensor)
    return tensor


def refused(command, *arguments):
    """What is said of a request that cannot be met, a line."""
    with pytest.raises(UsageError) as error:
        asked(options(command, *arguments)).plan()
    return str(error.value)


def test_every_command_that_asks_for_a_model_asks_alike():
    """One set of arguments, each with the same default and the same help."""
    (commands,) = [action.choices for action in cli.parser()._actions if action.dest == "command"]
    shared = {"source", "rules", "std", "recipe", "dtype", "layers"}
    found = [
        {a.dest: (a.option_strings, a.default, a.help, a.choices) for a in commands[name]._actions if a.dest in shared}
        for name in ("init", "plan")
    ]
    assert set(found[0]) == shared
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["olmoe", "t5", "mobilevit"])
def test_a_config_is_filled_in_memory(name, config, capsys):
    """Of any architecture: a language model, one with an encoder, one that sees."""
    source = config(name, dtype="bfloat16")
    assert cli.main(["init", source, "--device", "cpu", "--seed", "3", "--shards", "3"]) == 0
    out = capsys.readouterr().out
    assert "cpu, llvm backend, bfloat16, rules own, seed 3" in out
    assert "all bits are equal" in out
    live = asked(options("plan", source)).live
    model = type(live.model)._from_config(config_of(name, dtype="bfloat16"))
    fastinit.init_model_(model, live.recipe, seed=3)
    weights = {parameter: model.get_parameter(parameter).detach() for parameter, _ in model.named_parameters()}
    assert f"all of it: {sum(map(torch.numel, weights.values())):,} elements" in out
    assert f"digest: sha256 {model_digest(weights)} over the bits of {len(weights)} tensors" in out


def test_a_config_s_dtype_is_its_own_or_the_one_asked_for(config):
    half = config("olmoe", dtype="bfloat16")
    assert set(contents(half).dtypes.values()) == {torch.bfloat16}
    assert json.loads(contents(half).beside["config.json"])["dtype"] == "bfloat16"
    assert set(contents(half, "--dtype", "fp32").dtypes.values()) == {torch.float32}
    assert json.loads(contents(half, "--dtype", "fp16").beside["config.json"])["dtype"] == "float16"


def test_some_tensors_are_fp32_beside_any_16_bits(config):
    source = config(DEEPSEEK, dtype="bfloat16")
    for dtype, others in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp64", torch.float64)):
        found = contents(source, "--dtype", dtype).dtypes
        bias = {name for name, dtype in found.items() if dtype != others}
        assert all(name.endswith("e_score_correction_bias") for name in bias)
        assert bool(bias) == (dtype != "fp64")


def test_the_class_is_the_one_that_the_config_names(config):
    source = config("t5", architectures=["T5EncoderModel"])
    found = contents(source)
    assert json.loads(found.beside["config.json"])["architectures"] == ["T5EncoderModel"]
    assert not any("decoder" in name for name in found)
    assert any("decoder" in name for name in contents(config("t5", architectures=None)))
    assert any("decoder" in name for name in contents(config("t5", architectures=["AutoConfig"])))


def test_a_quantised_config_s_model_is_not_quantised(config):
    source = config("olmoe", quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]})
    found = contents(source)
    assert "quantization_config" not in json.loads(found.beside["config.json"])
    assert set(found.dtypes.values()) == {torch.float32}


def test_code_beside_a_config_is_not_run(config, tmp_path):
    marker = tmp_path / "ran"
    source = config("olmoe", auto_map={"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Model"})
    (Path(source) / "mine.py").write_text(f"open({str(marker)!r}, 'w')\nclass Mine: pass\nclass Model: pass\n")
    assert json.loads(contents(source).beside["config.json"])["model_type"] == "olmoe"
    unknown = config("olmoe", auto_map={"AutoConfig": "mine.Mine"}, model_type="of_mine", architectures=["Model"])
    assert "SOURCE: expected a config of transformers" in refused("plan", unknown)
    assert not marker.exists()


@pytest.mark.parametrize("rules", ["normal", "llama", "llama_depth", "fan_in", "normalized"])
def test_methods_for_a_config(config, rules):
    source = config("olmoe")
    found = contents(source, "--rules", rules, "--std", "0.03", "--seed", "5")
    model = asked(options("plan", source)).live.model.__class__(config_of("olmoe"))
    fastinit.init_model_(model, rules, std=0.03, seed=5)
    bank = model.get_parameter("model.layers.1.mlp.experts.gate_up_proj").detach()
    assert_same_bits(filled(found, "model.layers.1.mlp.experts.2.up_proj.weight"), bank[2, 48:])
    assert found.rules == f"{rules}, std 0.03"
    assert options("init", source, "--method", rules).rules == rules  # as it was called


def test_a_preset_s_contents_say_its_layers():
    found = contents("olmoe-1b-7b", "--layers", "2", "--seed", "4")
    assert (found.source, found.rules, found.seed) == ("olmoe-1b-7b, 2 layers", "own", 4)
    assert contents("tiny-moe", "--layers", "3").source == contents("tiny-moe").source == "tiny-moe"
    assert json.loads(found.beside["config.json"])["num_hidden_layers"] == 2


def test_a_preset_needs_no_transformers(monkeypatch, capsys, config):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert cli.main(["init", "tiny-moe", "--device", "cpu"]) == 0
    assert "transformers to be installed" in refused("plan", config("olmoe"))


def test_a_function_s_model(monkeypatch, capsys):
    monkeypatch.syspath_prepend(HERE)
    found = contents("planned_model:build", "--dtype", "bf16", "--seed", "2")
    (name,) = found
    weight = torch.empty(8, 8, dtype=torch.bfloat16)
    fastinit.uniform_(weight, -(8**-0.5), 8**-0.5, key=fastinit.Key.of(name, 2))
    assert_same_bits(filled(found, name), weight)
    assert found.beside == {}
    assert cli.main(["init", "planned_model:build", "--device", "cpu"]) == 0
    assert "planned_model:build: Module by 'the constructor'" in capsys.readouterr().out


def test_a_function_of_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "of_this_folder.py").write_text("import torch\ndef model(): return torch.nn.Linear(3, 2)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert list(contents("of_this_folder:model")) == ["weight", "bias"]


def test_values_that_are_computed_are_filled(monkeypatch, capsys):
    monkeypatch.syspath_prepend(HERE)
    found = contents("planned_model:orthogonal", "--seed", "6")
    weight = filled(found, "layers.0.attention.wq.weight").double()
    assert (weight @ weight.t() - torch.eye(8)).abs().max() < 2.0**-20
    assert cli.main(["init", "planned_model:orthogonal", "--device", "cpu", "--shards", "2", "--compare"]) == 0
    assert "all bits are equal" in capsys.readouterr().out


def test_a_stored_recipe_alone_and_for_a_model(tmp_path, config, capsys):
    file = tmp_path / "laws.json"
    source = config("mixtral")
    assert cli.main(["plan", source, "--save", str(file)]) == 0
    text = file.read_text("utf-8").replace('"std": 0.02', '"std": 0.05')
    file.write_text(text, "utf-8")
    of_both, of_file = contents(source, "--recipe", file), contents("--recipe", file, "--dtype", "fp64")
    assert of_both.rules == f"those of {file}"
    assert set(of_both.beside) == {"config.json", "generation_config.json"}
    assert of_file.beside == {}
    bank = filled(of_file, "model.layers.0.mlp.experts.gate_up_proj")
    expert = filled(of_both, "model.layers.0.block_sparse_moe.experts.1.w1.weight")
    assert_same_bits(expert, bank[1, :48].float())
    assert bank.std() > 0.04
    capsys.readouterr()
    assert cli.main(["init", "--recipe", str(file), "--device", "cpu"]) == 0
    assert f"{file}: MixtralForCausalLM by initialize_weights" in capsys.readouterr().out


def test_a_stored_recipe_s_ties_are_kept(tmp_path, config, capsys):
    file = tmp_path / "laws.json"
    assert cli.main(["plan", config("t5"), "--save", str(file)]) == 0
    live = asked(options("plan", "--recipe", file)).live.tensors
    assert set(live) == set(asked(options("plan", config("t5"))).live.tensors)
    assert "encoder.embed_tokens.weight" not in contents("--recipe", file)


def test_a_model_without_room_is_told(config, monkeypatch):
    monkeypatch.setattr("fastinit.cli.in_memory.free_bytes", lambda device: 1000)
    with pytest.raises(UsageError, match=r"SOURCE: it takes 0.199 MB, and 0.001 MB are free; --out fills files"):
        in_memory.fill(options("init", config("olmoe"), "--device", "cpu"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "SOURCE: expected a model, or --recipe"),
        (["tiny-moe", "--std", "1"], "--std: expected none but with a method"),
        (["tiny-moe", "--recipe", "r", "--rules", "own"], "--rules: expected none with --recipe"),
        (["--recipe", "nowhere.json"], None),
        (["tiny-moe", "--layers", "4"], "--layers: expected at most the 3 of tiny-moe, got 4"),
        (["json:dumps"], "SOURCE: expected a model from json:dumps, got TypeError: "),
        (["json:nothing"], "SOURCE: expected a model from json:nothing, got AttributeError: "),
        (["json:__name__"], "SOURCE: expected package.module:function, got 'json:__name__': it is no function"),
        (["not.there:f"], "SOURCE: expected a model from not.there:f, got ModuleNotFoundError: "),
        (["os:getcwd"], "SOURCE: expected a function that returns a torch.nn.Module, got str"),
    ],
)
@pytest.mark.parametrize("command", ["init", "plan"])
def test_what_is_no_source_is_told_in_a_line(command, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if said is None:
        with pytest.raises(FileNotFoundError):
            asked(options(command, *arguments))
        return
    line = refused(command, *arguments)
    assert line.startswith(said)
    assert "\n" not in line


def test_a_method_that_knows_no_name_names_it(config):
    said = refused("plan", config("gpt2"), "--rules", "llama")
    assert "wte.weight" in said


def test_arguments_that_are_not_there_have_their_defaults():
    """As those of a command that asks for a model beside something else."""
    found = contents_for(argparse.Namespace(source="tiny-moe"))
    assert (found.rules, found.seed) == ("own", 0)
    assert re.fullmatch(r"model\.layers\..*", list(found)[3])


def test_a_method_needs_no_laws_of_the_model_s_own(monkeypatch):
    """Attention sinks that OLMo-core's constructor leaves as memory, under its names."""
    monkeypatch.syspath_prepend(HERE)
    assert "blocks.0.attention.sinks" in "".join(refused("plan", "sources:olmo"))
    found = contents("sources:olmo", "--rules", "llama", "--seed", "3", "--format", "olmo")
    model, method = olmo_models.build(olmo_models.dense()), "llama"
    fastinit.init_model_(model, method, seed=3)
    assert list(found) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert_same_bits(filled(found, name), tensor)


def test_a_framework_s_own_names_of_files_are_followed(monkeypatch):
    """torchtitan's state dict has the queries, keys and values apart, which its model has in one parameter."""
    monkeypatch.syspath_prepend(HERE)
    found = contents("sources:titan", "--format", "dcp", "--seed", "3")
    model = frameworks.titan_llama3()
    fastinit.init_model_(model, fastinit.record(frameworks.titan_llama3), seed=3)
    expected = model.state_dict()
    assert list(found) == list(expected)
    assert len(found) > len(list(model.parameters()))
    for name, tensor in expected.items():
        assert_same_bits(filled(found, name), tensor)
