"""What each rank of a gloo world checks of recipes: ``python tests/recipe_cases.py WORLD_SIZE``.

Models are recorded, and filled whole, before the ranks are forked. A rank then has them on the meta device, sharded in one way or
another, and every full tensor must have the bits of the whole one.
"""

import re
from collections.abc import Callable

import gloo_ranks
import pytest
import torch
import torch.distributed as dist
from rank_checks import SEED, WORLD, assert_same, mesh_of
from recipe_checks import assert_model, full, live
from recipe_models import MODELS
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.placement_types import Placement

import fastinit

CONSTRUCTED = ("timm_convnext",)  # by its constructor alone
WRONG = ("gpt2", "qwen3_next", "t5")  # which transformers itself initialises otherwise where the root is fully_shard-ed
RECIPES = {name: fastinit.record(make) for name, make in MODELS.items()}


def built(name: str) -> nn.Module:
    """A model on the meta device."""
    with torch.device("meta"):
        return MODELS[name]()


def filled(name: str) -> dict[str, Tensor]:
    model = built(name)
    fastinit.init_model_(model, RECIPES[name], seed=SEED, device="cpu")
    return full(model)


EXPECTED = {name: filled(name) for name in MODELS}


def distributed(model: nn.Module, mesh: DeviceMesh, place: Callable[[Tensor], list[Placement]]) -> nn.Module:
    """The model with DTensors as its parameters; tied ones stay tied."""
    known: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter not in known:
                sharded = distribute_tensor(parameter.detach(), mesh, place(parameter), src_data_rank=None)
                known[parameter] = nn.Parameter(sharded, requires_grad=parameter.requires_grad)
            module._parameters[name] = known[parameter]
    return model


def fsdp(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """FSDP2 as people apply it: every block, then the rest."""
    for module in reversed(list(model.modules())):
        if isinstance(module, nn.ModuleList | nn.ModuleDict):
            for block in module.children():
                fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def shard(dim: int) -> Callable[[Tensor], list[Placement]]:
    return lambda tensor: [Shard(min(dim, tensor.ndim - 1))]


def alternating(tensor: Tensor) -> list[Placement]:
    """By columns or by rows; whole where there is one of each. full_tensor() waits forever for two dimensions of empty shards."""
    dims = [dim for dim, size in enumerate(tensor.shape) if size > 1]
    return [Shard(dims[tensor.numel() % 3 % len(dims)]) if dims else Replicate()]


def by_fsdp(name: str) -> nn.Module:
    return fsdp(built(name), mesh_of(WORLD))


def by_rows(name: str) -> nn.Module:
    return distributed(built(name), mesh_of(WORLD), shard(0))


def by_columns(name: str) -> nn.Module:
    return distributed(built(name), mesh_of(WORLD), shard(1))


def by_fsdp_over_tp(name: str) -> nn.Module:
    mesh = mesh_of(WORLD // 2, 2, names=("dp", "tp"))
    return fsdp(distributed(built(name), mesh["tp"], alternating), mesh["dp"])


def by_hsdp(name: str) -> nn.Module:
    return fsdp(built(name), mesh_of(WORLD // 2, 2, names=("replicas", "shards")))


def by_stage(name: str) -> nn.Module:
    """Half of the parameters, sharded over the ranks that have this half."""
    model = built(name)
    mine = 2 * dist.get_rank() // WORLD
    count = len(list(model.parameters()))
    stages = {parameter: 2 * number // count for number, parameter in enumerate(model.parameters())}
    for module in model.modules():
        for leaf, parameter in list(module.named_parameters(recurse=False)):
            if stages[parameter] != mine:
                module._parameters[leaf] = None
    mesh = mesh_of(2, WORLD // 2, names=("stages", "dp"))
    return distributed(model, mesh["dp"], shard(0))


def recipes(sharded: Callable[[str], nn.Module]) -> Callable[[], None]:
    def case() -> None:
        for name in MODELS:
            model = sharded(name)
            assert any(isinstance(parameter, DTensor) for parameter in model.parameters())
            fastinit.init_model_(model, RECIPES[name], seed=SEED, device="cpu")
            assert_model(name, model, EXPECTED[name])
            assert fastinit.verify_model_(model, RECIPES[name], seed=SEED), name

    case.__name__ = f"recipes_{sharded.__name__}"
    return case


LIVE = {name: full(live(built(name))) for name in MODELS if name not in CONSTRUCTED}


def keyed(sharded: Callable[[str], nn.Module]) -> Callable[[], None]:
    def case() -> None:
        for name, expected in LIVE.items():
            if not (sharded in FULLY_SHARDED and name in WRONG):
                assert_model(name, live(sharded(name)), expected)

    case.__name__ = f"keyed_{sharded.__name__}"
    return case


def materialised_within() -> None:
    """torch swaps parameters with detached ones then, and refuses to where anyone refers to those weakly."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(8, 12), nn.Linear(12, 4, bias=False))
    fully_shard(model)
    with fastinit.keyed(model, seed=SEED) as report:
        model.to_empty(device="cpu")
        for layer in model:
            layer.reset_parameters()
    for name, tensor in full(model).items():
        bound = report[name].law.b
        key = fastinit.Key.of(name, SEED)
        assert_same(tensor, fastinit.uniform_(torch.empty(tensor.shape), -bound, bound, key=key), "linear", name)


def one_process() -> None:
    """The ways agree, but where transformers ties before it initialises on the meta device, and after it on the CPU."""
    for name in LIVE.keys() - {"bert"}:
        for parameter, tensor in EXPECTED[name].items():
            assert_same(LIVE[name][parameter], tensor, name, parameter)


def faults_of_transformers() -> None:
    """What its own initialisation does where the root is fully_shard-ed, and recipes do not: another law, or none."""
    for name in ("gpt2", "t5"):
        found, expected = full(live(by_fsdp(name))), LIVE[name]
        other = {parameter for parameter in found if not torch.equal(found[parameter], expected[parameter])}
        if (
            name == "gpt2"
        ):  # not scaled by 1 / sqrt(2 * 2 blocks): as the same numbers are drawn, they are twice as large
            assert other == {parameter for parameter in found if parameter.endswith("c_proj.weight")}
            for parameter in other:
                assert_same(found[parameter], 2 * expected[parameter], name, parameter)
        else:  # N(0, 1) for what is scaled by the sizes of the layers
            assert other == {parameter for parameter in found if found[parameter].ndim == 2} - {"shared.weight"}
    refused = [f"model.layers.{layer}.mlp.gate.weight" for layer in range(4)]
    with pytest.raises(ValueError, match="(?s)did not write these 4.*" + ".*".join(map(re.escape, refused))):
        live(by_fsdp("qwen3_next"))


FULLY_SHARDED = (by_fsdp, by_fsdp_over_tp, by_hsdp)
WAYS = {2: (by_fsdp, by_rows, by_columns, by_stage), 4: (by_fsdp_over_tp, by_hsdp, by_stage)}[WORLD]
CASES = [
    one_process,
    materialised_within,
    *map(recipes, WAYS),
    *(keyed(sharded) for sharded in WAYS if sharded is not by_stage),
]
if by_fsdp in WAYS:
    CASES.append(faults_of_transformers)

if __name__ == "__main__":
    gloo_ranks.main(CASES)
