"""What each rank of a gloo world checks of models that frameworks shard themselves: ``python tests/framework_cases.py 4``.

torchtitan's `parallelize` has FSDP2, tensor and expert parallel DTensors. Megatron-core's parameters are plain tensors, which know
how they were cut; each rank counts its experts from 0.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import frameworks
import gloo_ranks
import pytest
import torch
import torch.distributed as dist
from megatron.core import parallel_state
from rank_checks import SEED, WORLD, assert_same, mesh_of
from recipe_checks import assert_model, full, live
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.placement_types import _StridedShard

import fastinit
from fastinit import LocalShard

RECIPES = {name: fastinit.record(make) for name, make in frameworks.TORCHTITAN.items()}


def filled(name: str) -> dict[str, Tensor]:
    model = frameworks.TORCHTITAN[name]()
    fastinit.init_model_(model, RECIPES[name], seed=SEED)
    return full(model)


EXPECTED = {name: filled(name) for name in RECIPES}


def axes_of(model: nn.Module) -> dict[str, set[str]]:
    """The axes of the mesh that each parameter is sharded over."""
    found = {}
    for name, parameter in model.named_parameters():
        assert isinstance(parameter, DTensor), name
        axes = zip(parameter.device_mesh.mesh_dim_names or (), parameter.placements, strict=True)
        found[name] = {axis for axis, placement in axes if not isinstance(placement, Replicate)}
    return found


def parallel(name: str, backend: str = "partial_dtensor") -> nn.Module:
    """A model of torchtitan's on the meta device, by torchtitan's own `parallelize`."""
    experts = 1 if name == "titan_llama3" else 2
    with torch.device("meta"):
        model = frameworks.TORCHTITAN[name]()
    model = frameworks.parallelized(
        name, model, WORLD, backend, tensor_parallel_degree=2, expert_parallel_degree=experts
    )
    axes = axes_of(model)
    data = "fsdp" if backend == "partial_dtensor" else "dp_shard"
    assert axes["layers.1.attention.wo.weight"] == axes["tok_embeddings.weight"] == {data, "tp"}
    assert axes["norm.weight"] == {data}
    routed = [name for name in axes if ".inner_experts." in name]
    assert bool(routed) == (experts > 1)
    assert all(axes[name] == {"efsdp", "ep"} for name in routed)
    return model


def assert_recipe(name: str, model: nn.Module) -> None:
    fastinit.init_model_(model, RECIPES[name], seed=SEED, device="cpu")
    assert_model(name, model, EXPECTED[name])
    assert fastinit.verify_model_(model, RECIPES[name], seed=SEED), name


def titan_recipes() -> None:
    for name in RECIPES:
        assert_recipe(name, parallel(name))
    assert_recipe("titan_llama3", parallel("titan_llama3", "full_dtensor"))


def titan_keyed() -> None:
    for name in RECIPES:
        assert_model(name, live(parallel(name)), EXPECTED[name])


@contextmanager
def megatron_groups(tensor: int = 1, experts: int = 1) -> Iterator[None]:
    parallel_state.initialize_model_parallel(
        tensor, expert_model_parallel_size=experts, create_gloo_process_groups=False
    )
    yield
    parallel_state.destroy_model_parallel()


def cut(whole: Tensor, parameter: Any, parts: int, rank: int) -> Tensor:
    """A rank's part of a whole tensor as Megatron-core cuts it: of a gate and what it gates, its part of each."""
    dim, stride = parameter.partition_dim, parameter.partition_stride
    return torch.cat(whole.chunk(parts * stride, dim)[rank::parts], dim)


def megatron(tensor: int, experts: int) -> Callable[[], None]:
    def case() -> None:
        with megatron_groups():
            recipe = fastinit.record(partial(frameworks.megatron, experts=4))
            one = frameworks.megatron(experts=4)
        fastinit.init_model_(one, recipe, seed=SEED)
        with megatron_groups(tensor, experts):
            torch.manual_seed(SEED)
            sizes = dict(tensor_model_parallel_size=tensor, expert_model_parallel_size=experts)
            model: Any = frameworks.megatron(experts=4, **sizes)
            rank = parallel_state.get_tensor_model_parallel_rank()
            first = parallel_state.get_expert_model_parallel_rank() * (4 // experts)
        assert (
            different(model) == tensor
        )  # by Megatron-core itself: ranks with other experts have drawn the same numbers
        mesh = mesh_of(WORLD // tensor, tensor, names=("others", "tp"))["tp"]
        shards = {}
        cuts = {name: parameter for name, parameter in model.named_parameters() if hasattr(parameter, "partition_dim")}
        for name, parameter in cuts.items():
            dim, shape = parameter.partition_dim, list(parameter.shape)
            shape[dim] *= tensor
            if parameter.partition_stride == 1:
                offset = [0] * len(shape)
                offset[dim] = rank * parameter.shape[dim]
                shards[name] = LocalShard(tuple(shape), tuple(offset))
            else:  # two pieces: no shard that is a box, but a placement of DTensor's
                placement = _StridedShard(dim, split_factor=parameter.partition_stride)
                local = DTensor.from_local(
                    parameter.detach(), mesh, [placement], shape=torch.Size(shape), stride=(shape[1], 1)
                )
                owner, _, leaf = name.rpartition(".")
                model.get_submodule(owner)._parameters[leaf] = nn.Parameter(local)
        rename = partial(frameworks.global_expert, first=first)
        fastinit.init_model_(model, recipe, seed=SEED, shards=shards, rename=rename)
        assert fastinit.verify_model_(model, recipe, seed=SEED, shards=shards, rename=rename)
        assert different(model) == tensor * experts
        for name, parameter in model.named_parameters():
            found = parameter.to_local() if isinstance(parameter, DTensor) else parameter
            expected = one.get_parameter(rename(name))
            if name in cuts:
                expected = cut(expected, cuts[name], tensor, rank)
            assert_same(found.detach(), expected.detach(), name)

    case.__name__ = f"megatron_tp{tensor}_ep{experts}"
    return case


def megatron_parts() -> None:
    """Whatever would give two ranks the same numbers is refused."""
    whole = frameworks.megatron
    with megatron_groups():
        recipe = fastinit.record(partial(whole, experts=4))
    with megatron_groups(tensor=2):
        part = partial(whole, experts=4, tensor_model_parallel_size=2)
        for refused in (lambda: fastinit.build(part), lambda: fastinit.record(part)):
            with pytest.raises(ValueError, match=r"got these 22 parts of a tensor-parallel rank.*\n  embedding.word"):
                refused()
    with megatron_groups(experts=2):
        part = partial(whole, experts=4, expert_model_parallel_size=2)
        for refused in (
            lambda: fastinit.build(part),
            lambda: fastinit.record(part),
            lambda: fastinit.init_model_(part(), recipe),
        ):
            with pytest.raises(ValueError, match=r"got none for these 8, .* on each rank:\n  decoder.layers.0.mlp"):
                refused()


def different(model: nn.Module) -> int:
    """How many different tensors the ranks have for their first expert."""
    mine = model.get_parameter("decoder.layers.1.mlp.experts.local_experts.0.linear_fc2.weight").detach().contiguous()
    found = [torch.empty_like(mine) for _ in range(WORLD)]
    dist.all_gather(found, mine)
    return len({tuple(weight.ravel().tolist()) for weight in found})


def titan_elsewhere() -> None:
    """What torchtitan 0.3 cannot do by this torch: its default, and experts as DTensors on the whole mesh."""
    for name, backend, message in (
        ("titan_llama3", "spmd_types", "all parameters must be DTensors on the full SPMD mesh"),
        ("titan_qwen3", "full_dtensor", "the same mesh passed to fully_shard"),
    ):
        with pytest.raises(ValueError, match=message):
            parallel(name, backend)


CASES = [titan_recipes, titan_keyed, titan_elsewhere, megatron_parts, megatron(1, 2), megatron(2, 1), megatron(2, 2)]

if __name__ == "__main__":
    gloo_ranks.main(CASES)
