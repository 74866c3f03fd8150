"""What each rank checks of transformers models under FSDP2: ``python tests/transformers_cases.py WORLD_SIZE``."""

from functools import partial
from typing import Any

import gloo_ranks
import pytest
import torch
import torch.distributed as dist
from laws import assert_same_bits
from marked import Marked
from tiny_transformers import config_of, model_of
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

import fastinit

SEED = 5

# Parameters that transformers 5.23 initialises by another law, or not at all, when the root is sharded: FSDP2 makes a
# class of its own for the root, whose module is not transformers, so the model is taken for somebody's own code. When
# one of these is mended, this test says so.
OTHERWISE = {
    "gpt2": "transformer.h.0.attn.c_proj.weight",
    "modernbert": "layers.0.attn.Wo.weight",
    "qwen3_5_moe_text": "model.layers.0.mlp.gate.weight",
    "qwen3_next": "model.layers.0.mlp.gate.weight",
    "recurrent_gemma": "model.layers.0.temporal_block.linear_out.weight",
    "switch_transformers": "encoder.block.0.layer.0.SelfAttention.q.weight",
    "t5": "encoder.block.0.layer.0.SelfAttention.q.weight",
    "wav2vec2": "feature_projection.projection.weight",
}


def sharded(name: str) -> nn.Module:
    """A model that was built on the meta device, whose root is sharded, with NaN in every parameter."""
    with torch.device("meta"):
        model = model_of(config_of(name))
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.detach().to_local().fill_(float("nan"))
    return model


def whole(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter as one tensor, tied ones under each name."""
    return {name: p.full_tensor().detach() for name, p in model.named_parameters(remove_duplicate=False)}


def a_recipe_is_right(name: str) -> None:
    config = config_of(name)
    expected, _ = fastinit.build(model_of, config, seed=SEED)
    recipe = fastinit.record(lambda: model_of(config))
    model = sharded(name)
    model.tie_weights()
    fastinit.init_model_(model, recipe, seed=SEED)
    assert fastinit.verify_model_(model, recipe, seed=SEED)
    found = whole(model)
    for key, parameter in expected.named_parameters(remove_duplicate=False):
        assert_same_bits(found[key], parameter.detach())


class MarkedShards(Marked):
    """What torch refuses, as the A_log of qwen3_next needs: a plain tensor is copied into a sharded one."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (
            function is torch.ops.aten.copy_.default
            and isinstance(args[0], DTensor)
            and not isinstance(args[1], DTensor)
        ):
            args = args[0], distribute_tensor(args[1].expand(args[0].shape), args[0].device_mesh, args[0].placements)
        return super().__torch_dispatch__(function, types, args, kwargs)


def initialised_otherwise(name: str) -> list[str]:
    """The parameters that a sharded root gives to another law than one process does, by draws that are known numbers."""
    model = sharded(name)
    with Marked(1.0):
        expected = dict(model_of(config_of(name)).named_parameters())
    with MarkedShards(1.0):
        model.initialize_weights()
        model.tie_weights()
    found = whole(model)
    return [key for key, parameter in expected.items() if not torch.equal(found[key], parameter.detach())]


def transformers_is_not(name: str) -> None:
    assert OTHERWISE[name] in initialised_otherwise(name)


def what_is_no_fault_is_called_none() -> None:
    assert initialised_otherwise("mpt") == []
    assert initialised_otherwise("llama") == ["model.embed_tokens.weight"]  # torch loses the zeros of its padding row


def routers_that_are_never_written_are_named() -> None:
    for name in ("qwen3_next", "qwen3_5_moe_text"):
        model = sharded(name)
        with (
            pytest.raises(ValueError, match=r"did not write these 2(?s:.*)layers.0.mlp.gate.weight"),
            fastinit.keyed(model),
        ):
            model.initialize_weights()


def _named(case: Any, name: str) -> Any:
    found = partial(case, name)
    found.__name__ = f"{case.__name__} {name}"  # type: ignore[attr-defined]
    return found


CASES = [
    *(_named(case, name) for name in OTHERWISE for case in (a_recipe_is_right, transformers_is_not)),
    what_is_no_fault_is_called_none,
    routers_that_are_never_written_are_named,
]

if __name__ == "__main__":
    gloo_ranks.main(CASES)
