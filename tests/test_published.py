"""The names and layout of files: what transformers' save_pretrained writes, element by element."""

import json
import math
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from laws import assert_same_bits
from safetensors.torch import load_file, save_file
from tiny_transformers import SEQ2SEQ, config_of, model_of
from torch import nn

import fastinit
from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.followed import Marks
from fastinit.checkpoint.layout import as_it_is, laid_out
from fastinit.checkpoint.live import of_build
from fastinit.checkpoint.preset import of_preset
from fastinit.model.presets import preset
from fastinit.model.scheme import Scheme
from fastinit.shard.geometry import LocalShard

SEED = 5
TEN = ("mixtral", "qwen3_moe", "deepseek_v3", "gpt_oss", "olmoe", "llama4_text", "jamba", "gpt2", "gemma3_text", "t5")
# Besides: buffers that are counted and computed, biases as buffers, names with another first part, other tied pairs.
OTHERS = ("mobilevit", "minimax", "bart", "nemotron_h", "granitemoe", "longcat_flash", "swin", "switch_transformers")


def filled(contents):
    """Every tensor of a checkpoint, filled over other bits."""
    tensors = {name: torch.empty(contents.shape(name), dtype=contents.dtypes[name]) for name in contents}
    for name, tensor in tensors.items():
        tensor.view(torch.uint8 if tensor.ndim else tensor.dtype).fill_(77)
        contents.fill_(name, tensor)
    return tensors


def contents_of(live, form="hf", rules=None):
    """A checkpoint by the model's own laws, or those of a method."""
    laws = None if rules else live.recipe
    return live.contents(form, "here", rules or live.recipe.rules(SEED), "own", laws)


def assert_same_tensors(found, expected):
    assert set(found) == set(expected)
    for name, tensor in found.items():
        assert tensor.dtype == expected[name].dtype
        assert_same_bits(tensor, expected[name])


def saved(model, folder):
    """What transformers writes: tensors, and the other files."""
    model.save_pretrained(folder)
    beside = {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.suffix == ".json"}
    return load_file(Path(folder) / "model.safetensors"), beside


@pytest.mark.parametrize("name", [*TEN, *OTHERS])
def test_files_are_those_of_save_pretrained(name, tmp_path):
    """Names, shapes, dtypes and bits of every tensor, and config.json byte by byte."""
    contents = contents_of(of_build(lambda: model_of(config_of(name)), None))
    model = model_of(config_of(name))
    fastinit.init_model_(model, fastinit.record(lambda: model_of(config_of(name))), seed=SEED)
    expected, beside = saved(model, tmp_path)
    assert_same_tensors(filled(contents), expected)
    assert contents.beside == beside


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "olmoe"])
def test_a_method_s_laws_have_the_same_layout(name, tmp_path):
    live = of_build(lambda: model_of(config_of(name)), None)
    contents = contents_of(live, rules=Scheme("llama_depth", seed=SEED, std=0.03))
    model = model_of(config_of(name))
    fastinit.init_model_(model, "llama_depth", seed=SEED, std=0.03)
    assert_same_tensors(filled(contents), saved(model, tmp_path)[0])


def test_what_transformers_loads_in_fp32_is_written_so(tmp_path):
    """Or it would have the values that bf16 has, and would be another tensor when it is saved again."""
    live = of_build(lambda: model_of(config_of("deepseek_v3", dtype="bfloat16")), None)
    contents = contents_of(live)
    assert {str(dtype) for dtype in contents.dtypes.values()} == {"torch.bfloat16", "torch.float32"}
    tensors = filled(contents)
    (tmp_path / "c").mkdir()
    for name, text in contents.beside.items():
        (tmp_path / "c" / name).write_bytes(text)
    save_file(tensors, tmp_path / "c" / "model.safetensors", {"format": "pt"})
    model, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "c", output_loading_info=True)
    assert not any(info.values())
    assert fastinit.verify_model_(model, live.recipe, seed=SEED)
    assert_same_tensors(saved(model, tmp_path / "again")[0], tensors)


def test_what_transformers_does_not_save_is_not_written(tmp_path):
    """Positions that are computed."""
    config = transformers.MarianConfig(**SEQ2SEQ)
    live = of_build(lambda: transformers.MarianMTModel(config), None)
    model = transformers.MarianMTModel(config)
    fastinit.init_model_(model, live.recipe, seed=SEED)
    expected, _ = saved(model, tmp_path)
    assert "model.encoder.embed_positions.weight" not in expected
    assert_same_tensors(filled(contents_of(live)), expected)


def test_another_first_name_of_a_tied_pair_has_the_numbers_of_the_recipe_s():
    """As where a framework has turned the order of its modules round since the laws were stored."""

    def built(*names):
        model = nn.Module()
        for name in names:
            model.add_module(name, nn.Linear(3, 3, bias=False))
        model.get_submodule(names[1]).weight = model.get_submodule(names[0]).weight
        return model

    recipe = fastinit.record(lambda: built("head", "embedding"))
    live = of_build(lambda: built("embedding", "head"), None)
    contents = live.contents("hf", "here", recipe.rules(SEED), "stored", recipe)
    model = built("embedding", "head")
    fastinit.init_model_(model, recipe, seed=SEED)
    assert_same_tensors(filled(contents), {"embedding.weight": model.embedding.weight.detach()})


def test_every_expert_is_a_part_of_the_live_bank():
    live = of_build(lambda: model_of(config_of("mixtral")), None)
    entry = contents_of(live).entries["model.layers.1.block_sparse_moe.experts.2.w3.weight"]
    (tile,) = entry.tiles
    assert (tile.source, tile.dims) == ("model.layers.1.mlp.experts.gate_up_proj", (-1, 0, 1))
    assert tile.shard == LocalShard((4, 96, 32), (2, 48, 0))


def test_a_state_dict_has_the_live_names():
    """With what is tied under each of them, as the readers of dcp have it."""
    live = of_build(lambda: model_of(config_of("t5")), None)
    contents = contents_of(live, "dcp")
    model = model_of(config_of("t5"))
    fastinit.init_model_(model, live.recipe, seed=SEED)
    assert list(contents) == list(model.state_dict())
    assert len(contents) > len(contents_of(live))
    assert contents.beside == {}
    assert_same_tensors(filled(contents), model.state_dict())


class Plain(nn.Module):
    """A model of nobody's framework: a tied pair, statistics, a counter, what is not kept, and what is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4, padding_idx=2)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embedding.weight
        self.rate = nn.Parameter(torch.linspace(1, 4, 4).log())
        self.register_buffer("steps", torch.arange(3))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("kept_out", torch.ones(2), persistent=False)


@pytest.mark.parametrize("form", ["hf", "dcp"])
def test_a_plain_model_s_files_are_its_state_dict(form):
    live = of_build(Plain, None)
    contents = contents_of(live, form)
    model = Plain()
    fastinit.init_model_(model, live.recipe, seed=SEED)
    expected = model.state_dict()
    if form == "hf":
        del expected["head.weight"]
    assert list(contents) == list(expected)
    assert_same_tensors(filled(contents), expected)
    assert contents.entries["norm.num_batches_tracked"].kind == "constant"
    assert contents.entries["steps"].kind == contents.entries["rate"].kind == "derived"


def test_another_dtype_is_that_of_all_numbers():
    contents = contents_of(of_build(Plain, torch.bfloat16))
    assert contents.dtypes["rate"] == contents.dtypes["norm.running_var"] == torch.bfloat16
    assert contents.dtypes["norm.num_batches_tracked"] == torch.int64
    whole, half = filled(contents_of(of_build(Plain, None))), filled(contents)
    assert_same_bits(half["rate"], whole["rate"].bfloat16())


def test_what_nothing_fills_is_named():
    class Empty(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.register_buffer("statistics", torch.empty(3))

    with pytest.raises(ValueError, match=r"got none for these 1:\n  statistics"):
        contents_of(of_build(Empty, None))


@pytest.mark.parametrize("name", ["tiny-moe", "gpt-oss-120b"])
def test_a_preset_says_what_its_folder_holds(name):
    contents = contents_of(of_preset(preset(name), 2, torch.float16))
    config = json.loads(contents.beside["config.json"])
    assert (config["num_hidden_layers"], config["dtype"]) == (2, "float16")
    assert set(contents.beside) == {"config.json", "generation_config.json"}
    assert {contents.dtypes[entry] for entry in contents} == {torch.float16}


# What a framework may do to a tensor on its way to a file, on a bank of experts (e, o, i).
EXPERTS, OUTS, INS = 3, 8, 5
STEPS = {
    "an expert": lambda bank: bank[1],
    "one expert, kept": lambda bank: bank[1:2],
    "chunks": lambda bank: bank.chunk(2, 1)[1].contiguous(),
    "transposed": lambda bank: bank.transpose(1, 2).contiguous(),
    "transposed, as a view": lambda bank: bank.transpose(0, 2),
    "flat": lambda bank: bank.reshape(EXPERTS * OUTS, INS),
    "flat rows of some": lambda bank: bank[:, 2:6].reshape(EXPERTS * 4, INS),
    "interleaved": lambda bank: bank.reshape(EXPERTS, 2, OUTS // 2, INS).transpose(1, 2).reshape(EXPERTS, OUTS, INS),
    "with a dimension more": lambda bank: bank.unsqueeze(1).contiguous(),
    "together": lambda bank: torch.cat([bank[2, 4:], bank[0, :2]], dim=0),
    "stacked": lambda bank: torch.stack([bank[2], bank[0]]),
    "one row": lambda bank: bank[1, 3],
    "one number": lambda bank: bank[1, 3, 2],
    "cloned twice": lambda bank: bank[0].clone().t().clone(),
}


def followed(step):
    """The entry of what a step makes of a bank, and what it makes of the filled bank."""
    model = nn.Module()
    model.bank = nn.Parameter(torch.empty(EXPERTS, OUTS, INS))
    recipe = fastinit.record(
        model, init=lambda module: (nn.init.normal_(module.bank), nn.init.zeros_(module.bank[1, 3]))
    )
    fastinit.init_model_(model, recipe, seed=SEED)
    bank = model.bank.detach()
    meta = torch.empty(EXPERTS, OUTS, INS, device="meta")
    marks = Marks({"bank": meta})
    with marks.following():
        made = step(meta).contiguous()
    return marks.laid(made), {entry.name: entry for entry in recipe}, step(bank)


@pytest.mark.parametrize("name", STEPS)
def test_elements_are_followed_through(name):
    laid, live, expected = followed(STEPS[name])
    entry = laid_out({"file": laid}, live)["file"]
    contents = Contents("", "", SEED, {"file": entry}, {"file": torch.float32})
    assert_same_bits(filled(contents)["file"], expected.contiguous())


def test_more_parts_than_can_be_told_are_none():
    with torch.device("meta"):
        wide = nn.Parameter(torch.empty(2, 10_000))
    marks = Marks({"wide": wide})
    with marks.following():
        made = wide.reshape(2, 2, 5000).transpose(1, 2).reshape(2, 10_000)
    assert marks.laid(made) is None


def test_what_is_computed_is_no_part():
    assert followed(lambda bank: bank * 2)[0] is None
    assert followed(lambda bank: bank.sum(0))[0] is None


@given(st.data())
def test_any_part_of_a_file_is_that_part(data):
    """A shard of a tensor that is a box of others, as a rank of another mesh has it."""
    laid, live, expected = followed(STEPS[data.draw(st.sampled_from(["an expert", "transposed", "together", "flat"]))])
    entry = laid_out({"file": laid}, live)["file"]
    contents = Contents("", "", SEED, {"file": entry}, {"file": torch.float32})
    cuts = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in expected.shape]
    box = tuple(slice(*cut) for cut in cuts)
    part = torch.full_like(expected[box], math.nan).contiguous()
    contents.fill_("file", part, LocalShard(tuple(expected.shape), tuple(first for first, _ in cuts)))
    assert_same_bits(part, expected[box].contiguous())


def test_parts_of_what_is_computed():
    """A part of values that no law describes: a matrix of orthogonal ones."""
    model = nn.Linear(6, 4, bias=False)
    recipe = fastinit.record(model, init=lambda module: nn.init.orthogonal_(module.weight), device="cpu")
    live = {entry.name: entry for entry in recipe}
    meta = torch.empty(4, 6, device="meta")
    marks = Marks({"weight": meta})
    with marks.following():
        halves = [half.t().contiguous() for half in meta.chunk(2)]
    entries = laid_out({str(k): marks.laid(half) for k, half in enumerate(halves)}, live)
    whole = entries["0"].computed.value(SEED), entries["1"].computed.value(SEED)
    assert_same_bits(torch.cat([half.t() for half in whole]), live["weight"].computed.value(SEED))
    assert entries["0"].kind == "derived"
    assert "a part of weight" in str(entries["0"].computed)


def test_a_whole_parameter_is_as_it_is():
    laid, live, _ = followed(lambda bank: bank.clone())
    assert laid == as_it_is("bank", (EXPERTS, OUTS, INS))
    assert laid_out({"bank": laid}, live)["bank"].tiles == live["bank"].tiles
