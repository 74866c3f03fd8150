"""Real models of transformers, with small sizes: every parameter is filled, by the rule of its role."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import nn

import fastinit
from fastinit import init_model_, verify_model_
from fastinit.law.distributions import Normal
from fastinit.law.transformed import Constant
from fastinit.model.roles import HUGGING_FACE, HUGGING_FACE_MODELS, Role
from fastinit.model.rules import truncated

HIDDEN, EXPERT, BLOCKS = 32, 24, 2
SIZES: dict[str, Any] = dict(
    vocab_size=64,
    hidden_size=HIDDEN,
    intermediate_size=48,
    moe_intermediate_size=EXPERT,
    num_hidden_layers=BLOCKS,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    num_experts=4,
    num_local_experts=4,
    num_experts_per_tok=2,
    eos_token_id=1,
    pad_token_id=None,
)
MOES = ("mixtral", "qwen3_moe", "olmoe")


def build(model_type: str, device: str = "cpu", **options: Any) -> nn.Module:
    """A model with NaN in every parameter."""
    config = transformers.AutoConfig.for_model(model_type, **{**SIZES, **options})
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data.fill_(float("nan"))
    return model


@pytest.mark.parametrize("model_type", sorted(HUGGING_FACE_MODELS))
@pytest.mark.parametrize("method", fastinit.InitMethod)
def test_no_parameter_is_missed(model_type: str, method: str) -> None:
    model = build(model_type)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    report = init_model_(model, method, seed=1)
    assert [row.name for row in report.rows] == [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        assert bool(parameter.isfinite().all()), name
        constant = isinstance(report[name].law, Constant)
        assert bool((parameter == parameter.flatten()[0]).all()) is constant, name
    assert bool(model(torch.tensor([[3, 1, 4]])).logits.isfinite().all())
    assert verify_model_(model, method, seed=1)
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], rtol=0, atol=0)


def test_laws_of_fused_experts() -> None:
    model = build("qwen3_moe", mlp_only_layers=[0])
    report = init_model_(model, "llama_depth", std=0.1)
    layer = "model.layers.1."
    expected = {
        "model.embed_tokens.weight": (Role.EMBEDDING, Normal(0.0, 1.0)),
        "model.layers.0.mlp.gate_proj.weight": (Role.FEED_FORWARD_W1, truncated(0.1)),
        "model.layers.0.mlp.up_proj.weight": (Role.FEED_FORWARD_W3, truncated(0.1 / 2**0.5)),
        layer + "self_attn.q_proj.weight": (Role.ATTENTION_IN, truncated(0.1)),
        layer + "self_attn.o_proj.weight": (Role.ATTENTION_OUT, truncated(0.1 / 4**0.5)),
        layer + "mlp.gate.weight": (Role.ROUTER, truncated(0.1 / 4**0.5)),
        layer + "mlp.experts.gate_up_proj": (Role.EXPERT_UP_GATE, truncated(0.1 / 4**0.5)),
        layer + "mlp.experts.down_proj": (Role.EXPERT_W2, truncated(0.1 / 4**0.5)),
        layer + "self_attn.q_norm.weight": (Role.NORM, Constant(1.0)),
        "lm_head.weight": (Role.FINAL_OUTPUT, truncated(HIDDEN**-0.5)),
    }
    for name, (role, law) in expected.items():
        assert (report[name].role, report[name].law) == (role.value, law), name
    report = init_model_(model, "fan_in")
    assert report[layer + "mlp.experts.gate_up_proj"].law == truncated(HIDDEN**-0.5)
    assert report[layer + "mlp.experts.down_proj"].law == truncated(EXPERT**-0.5)
    assert report["model.layers.0.mlp.down_proj.weight"].law == truncated(48**-0.5)


@pytest.mark.parametrize("model_type", MOES)
def test_meta_models_and_halves_of_models_get_the_same_values(model_type: str) -> None:
    whole = build(model_type)
    init_model_(whole, "llama", seed=2)
    meta = build(model_type, device="meta")
    init_model_(meta, "llama", seed=2, device="cpu")
    half = build(model_type)
    del half.model.layers[1:], half.lm_head
    init_model_(half, "llama", seed=2)
    for model in (meta, half):
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter, whole.get_parameter(name), rtol=0, atol=0)


def test_tied_embeddings() -> None:
    for device in ("cpu", "meta"):
        model = build("llama", device=device, tie_word_embeddings=True)
        report = init_model_(model, "llama", device="cpu")
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert report["lm_head.weight"].tied == ("lm_head.weight",)


def test_unknown_models_are_refused_although_their_names_are_known() -> None:
    """Gemma's norms add 1 to their weight, under the same name."""
    model = build("gemma")
    with pytest.raises(ValueError, match=r"(?s)none in a model of type gemma for these .*model.norm.weight"):
        init_model_(model, "llama")
    with pytest.raises(ValueError, match="none in a model of type gemma"):
        init_model_(nn.Sequential(model), "llama")  # also inside of something else
    assert all(bool(parameter.isnan().all()) for parameter in model.parameters())
    norms = [("**.*norm.weight", Role.BIAS)]
    init_model_(model, "llama", roles=[*norms, *HUGGING_FACE])
    assert not bool(model.model.norm.weight.any())


class Expert(nn.Module):
    def __init__(self, **shapes: tuple[int, int]) -> None:
        super().__init__()
        for name, (inputs, outputs) in shapes.items():
            setattr(self, name, nn.Linear(inputs, outputs, bias=False))


@pytest.mark.parametrize(
    ("block", "names"),
    [("mlp", ("gate_proj", "up_proj", "down_proj")), ("block_sparse_moe", ("w1", "w3", "w2"))],
)
def test_experts_as_modules_of_their_own(block: str, names: tuple[str, str, str]) -> None:
    """As before transformers 5."""
    shapes = dict(zip(names, ((HIDDEN, EXPERT), (HIDDEN, EXPERT), (EXPERT, HIDDEN)), strict=True))
    moe = nn.Module()
    moe.gate = nn.Linear(HIDDEN, 4, bias=False)
    moe.experts = nn.ModuleList(Expert(**shapes) for _ in range(4))
    model = nn.Module()
    model.config = SimpleNamespace(model_type="mixtral", hidden_size=HIDDEN, num_hidden_layers=2)
    model.model = nn.Module()
    model.model.layers = nn.ModuleDict({"1": nn.ModuleDict({block: moe})})
    report = init_model_(model, "fan_in")
    prefix = f"model.layers.1.{block}"
    assert report[f"{prefix}.gate.weight"].role == Role.ROUTER.value
    for name, role, inputs in zip(
        names, (Role.EXPERT_W1, Role.EXPERT_W3, Role.EXPERT_W2), (HIDDEN, HIDDEN, EXPERT), strict=True
    ):
        row = report[f"{prefix}.experts.3.{name}.weight"]
        assert (row.role, row.law) == (role.value, truncated(inputs**-0.5))
    report = init_model_(model, "llama_depth", std=0.1)
    assert report[f"{prefix}.experts.3.{names[2]}.weight"].law == truncated(0.1 / 4**0.5)  # block 1, not expert 3
