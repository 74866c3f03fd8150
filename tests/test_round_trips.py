"""A checkpoint of each of ten architectures: loaded by transformers, trained on as one of its own, proved, and saved again."""

import json
import math

import pytest
import torch
import transformers
from checkpoints import read
from laws import assert_same_bits
from safetensors.torch import load
from tiny_transformers import config_of, model_of

import fastinit
from fastinit import __main__ as cli

SEED = 5
TEN = ("mixtral", "qwen3_moe", "deepseek_v3", "gpt_oss", "olmoe", "llama4_text", "jamba", "gpt2", "gemma3_text", "t5")
VOCABULARY = 512  # as many are guessed from alike
# What a forward pass asks of a config beside: as many heads of keys as of queries, and a start. T5's own law gives its logits a
# variance of 1, and so a loss of ln(vocabulary) + 1/2, which at these few words is above the error: half of its std, a fourth.
BESIDE = {"deepseek_v3": {"num_key_value_heads": 4}, "t5": {"decoder_start_token_id": 0, "initializer_factor": 0.5}}
LOSS_ERROR = 0.05  # of ln(vocabulary): what the issue allows the first loss


def tensors(directory):
    """Every tensor of a folder of safetensors."""
    found = {}
    for name, text in read(directory).items():
        if name.endswith(".safetensors"):
            found |= load(text)
    return found


@pytest.mark.parametrize("name", TEN)
def test_a_checkpoint_is_loaded_proved_and_saved_again(name, tmp_path, capsys):
    config = config_of(name)
    for key, value in {"vocab_size": VOCABULARY, **BESIDE.get(name, {})}.items():
        setattr(config, key, value)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()), "utf-8")
    written = tmp_path / "written"
    source = ["init", str(tmp_path / "config.json"), "--seed", str(SEED)]
    assert cli.main([*source, "--out", str(written), "--shard-size", "100KB"]) == 0
    assert cli.main(["verify", str(written)]) == 0

    live = model_of(config)
    fastinit.init_model_(live, fastinit.record(lambda: model_of(config)), seed=SEED)
    auto = transformers.AutoModelForSeq2SeqLM if name == "t5" else transformers.AutoModelForCausalLM
    loaded, info = auto.from_pretrained(written, output_loading_info=True, experts_implementation="eager")
    assert not any(info.values()), info
    assert type(loaded) is type(live)
    expected = dict(live.named_parameters())
    assert dict(loaded.named_parameters()).keys() == expected.keys()
    for parameter, tensor in loaded.named_parameters():
        assert tensor.dtype == expected[parameter].dtype
        assert_same_bits(tensor.detach(), expected[parameter].detach())
    for buffer, tensor in loaded.named_buffers():
        assert_same_bits(tensor, live.get_buffer(buffer))

    tokens = torch.randint(VOCABULARY, (4, 32), generator=torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        loss = loaded.eval()(input_ids=tokens, labels=tokens.roll(1, 0)).loss.item()
    assert abs(loss / math.log(VOCABULARY) - 1) < LOSS_ERROR

    loaded.save_pretrained(tmp_path / "again")
    again, before = tensors(tmp_path / "again"), tensors(written)
    assert again.keys() == before.keys()
    for tensor in before:
        assert again[tensor].dtype == before[tensor].dtype
        assert_same_bits(again[tensor], before[tensor])
