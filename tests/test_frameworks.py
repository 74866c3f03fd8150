"""Recipes of models of torchtitan, Megatron-core, timm and peft, and within accelerate's context: nothing beside them is needed."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import frameworks
import peft
import pytest
import torch
import torch.distributed as dist
from accelerate import init_empty_weights
from recipe_models import hugging_face
from torch import Tensor, nn

import fastinit
from fastinit import Key
from fastinit.recipe.aliases import Fused

# peft asks transformers by a name that transformers 5 has deprecated, and Megatron-core itself by one of its own.
PEFT = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
MEGATRON = pytest.mark.filterwarnings("ignore:full scope is deprecated:UserWarning")
LORA = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"])


def same(actual: Tensor, expected: Tensor) -> bool:
    return torch.equal(actual.detach(), expected.detach())


@pytest.mark.parametrize("name", [*frameworks.TORCHTITAN, *frameworks.TIMM])
def test_the_ways_agree(name: str) -> None:
    make = {**frameworks.TORCHTITAN, **frameworks.TIMM}[name]
    recipe = fastinit.record(make)
    model = make()
    fastinit.init_model_(model, recipe, seed=3)
    assert fastinit.verify_model_(model, recipe, seed=3)
    if name in frameworks.TORCHTITAN:
        live = make()
        with fastinit.keyed(live, seed=3):
            live.init_states()
    else:
        live, _ = fastinit.build(make, seed=3)
    for parameter, tensor in live.named_parameters():
        assert same(tensor, model.get_parameter(parameter)), parameter


def test_fused_queries_keys_and_values_have_the_bits_of_their_parts() -> None:
    recipe = fastinit.record(partial(frameworks.titan_llama3, fused=False))
    apart, fused = frameworks.titan_llama3(fused=False), frameworks.titan_llama3()
    fastinit.init_model_(apart, recipe, seed=2)
    layer = "layers.*.attention.qkv_linear"
    parts = tuple(f"{layer}.{part}.weight" for part in ("wq", "wk", "wv"))
    fastinit.init_model_(fused, recipe, seed=2, aliases={f"{layer}.wqkv.weight": Fused(parts, groups=2)})
    inside: Any = apart.get_submodule("layers.1.attention.qkv_linear")
    heads = [getattr(inside, part).weight.view(2, -1, 4, 16) for part in ("wq", "wk", "wv")]
    expected = torch.cat(heads, 1).reshape(32, 16)
    assert same(fused.get_parameter("layers.1.attention.qkv_linear.wqkv.weight"), expected)


def one_gate(model: Any) -> nn.Module:
    """torchtitan's model with the gate and what it gates in one matrix: of a dense layer, or of all experts of one."""
    for layer in model.layers.values():
        if hasattr(layer, "feed_forward"):
            layer.feed_forward.w13 = nn.Linear(frameworks.DIM, 2 * len(layer.feed_forward.w1.weight), bias=False)
            del layer.feed_forward.w1, layer.feed_forward.w3
        else:
            experts = layer.moe.routed_experts.inner_experts
            experts.w13_EFD = nn.Parameter(torch.cat([experts.w1_EFD, experts.w3_EFD], 1))
            del experts.w1_EFD, experts.w3_EFD
    return model


def test_a_gate_and_what_it_gates_in_one_have_the_bits_of_their_parts() -> None:
    recipe = fastinit.record(frameworks.titan_deepseek_v3)  # a dense layer, then one of experts
    apart, fused = frameworks.titan_deepseek_v3(), one_gate(frameworks.titan_deepseek_v3())
    fastinit.init_model_(apart, recipe, seed=2)
    dense, experts = "layers.*.feed_forward", "layers.*.moe.routed_experts.inner_experts"
    aliases: dict[str, Any] = {
        f"{dense}.w13.weight": (f"{dense}.w1.weight", f"{dense}.w3.weight"),
        f"{experts}.w13_EFD": Fused((f"{experts}.w1_EFD", f"{experts}.w3_EFD"), dim=1),
    }
    fastinit.init_model_(fused, recipe, seed=2, aliases=aliases)
    assert fastinit.verify_model_(fused, recipe, seed=2, aliases=aliases)
    for name, dim in (("layers.0.feed_forward.w{}.weight", 0), (experts.replace("*", "1") + ".w{}_EFD", 1)):
        parts = [apart.get_parameter(name.format(part)) for part in (1, 3)]
        assert same(fused.get_parameter(name.format(13)), torch.cat(parts, dim)), name


def test_what_is_fused_by_torchtitan_itself_is_one_law() -> None:
    """It is drawn in three parts that are put together head by head: each number is in one place."""
    recipe = fastinit.record(frameworks.titan_llama3)
    assert recipe["layers.0.attention.qkv_linear.wqkv.weight"].kind == "law"


def test_expanded_numbers_are_no_law() -> None:
    class Rows(nn.Linear):
        @torch.no_grad()
        def reset_parameters(self) -> None:
            self.weight.copy_(torch.randn(1, 8).expand(4, 8))

    recipe = fastinit.record(lambda: Rows(8, 4, bias=False))
    assert recipe["weight"].kind == "derived"
    model = Rows(8, 4, bias=False)
    fastinit.init_model_(model, recipe)
    assert same(model.weight, model.weight[:1].expand(4, 8))


@PEFT
def test_adapters_on_a_loaded_base() -> None:
    base = hugging_face("llama")
    before = {parameter: parameter.detach().clone() for parameter in base.parameters()}
    model: Any = peft.get_peft_model(base, LORA)
    prefix = "base_model.model."
    with fastinit.keyed(model, seed=1, rename=lambda name: name.removeprefix(prefix)) as report:
        for module in model.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                module.reset_lora_parameters("default", True)
    assert {row.role for row in report.rows} == {"loaded", "law", "constant"}
    assert all(same(parameter, tensor) for parameter, tensor in before.items())
    name = "model.layers.0.self_attn.q_proj.lora_A.default.weight"
    weight = model.get_parameter(prefix + name)
    bound = 3**0.5 * (
        (2 / 6) ** 0.5 / 16**0.5
    )  # as torch computes it: kaiming_uniform_ with a = sqrt(5), of 16 columns
    expected = fastinit.uniform_(torch.empty_like(weight), a=-bound, b=bound, key=Key.of(name, 1))
    assert same(weight, expected)


@PEFT
def test_a_model_inside_does_not_initialise_the_adapters() -> None:
    """peft's models have all methods of theirs: transformers' would fill the adapters' second matrices, which are zero."""
    recipe = fastinit.record(lambda: peft.get_peft_model(hugging_face("llama"), LORA))
    assert recipe.init == "the constructor"
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight"
    assert recipe[name].kind == "constant"


def test_empty_weights() -> None:
    recipe = fastinit.record(lambda: hugging_face("mixtral"))
    with init_empty_weights():
        model = hugging_face("mixtral")
        assert not recipe.diff(fastinit.record(lambda: hugging_face("mixtral")))
    assert not recipe.diff(fastinit.record(model))
    fastinit.init_model_(model, recipe, device="cpu")
    assert fastinit.verify_model_(model, recipe)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A world of one rank, as Megatron-core wants one."""
    from megatron.core import parallel_state

    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    parallel_state.initialize_model_parallel(create_gloo_process_groups=False)
    yield
    parallel_state.destroy_model_parallel()
    dist.destroy_process_group()


@MEGATRON
@pytest.mark.usefixtures("alone")
def test_megatron_s_local_experts_are_renamed() -> None:
    """Each rank counts its experts from 0: two ranks with two experts each are one with four."""
    whole = fastinit.record(partial(frameworks.megatron, experts=4))
    assert set(whole.kinds()) == {"law", "constant"}
    expected: Any = frameworks.megatron(experts=4)
    fastinit.init_model_(expected, whole, seed=1)
    for rank in range(2):
        half: Any = frameworks.megatron(experts=2)
        for layer in half.decoder.layers:
            layer.mlp.router.weight = nn.Parameter(torch.empty(4, frameworks.DIM))
        rename = partial(frameworks.global_expert, first=2 * rank)
        fastinit.init_model_(half, whole, seed=1, rename=rename)
        for name, parameter in half.named_parameters():
            assert same(parameter, expected.get_parameter(rename(name))), name
