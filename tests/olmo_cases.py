"""What each rank of a gloo world checks of OLMo-core under patched(): ``python tests/olmo_cases.py WORLD_SIZE``.

Models are built on the meta device and parallelised by OLMo-core's own code, which calls ``init_weights``.
"""

import sys
from typing import Any
from unittest import mock

import gloo_ranks
import olmo_models
import torch
import torch.distributed as dist
from olmo_core.distributed import parallel
from olmo_core.distributed.parallel import (
    DataParallelType,
    PipelineScheduleType,
    build_world_mesh,
    get_pp_mesh,
)
from olmo_core.train.train_module.transformer.common import parallelize_model
from olmo_core.train.train_module.transformer.config import (
    TransformerDataParallelConfig,
    TransformerExpertParallelConfig,
    TransformerPipelineParallelConfig,
    TransformerTensorParallelConfig,
)
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import fastinit
from fastinit.integrations.olmo_core import patched

SEED = 6


def whole(config: Any) -> dict[str, Tensor]:
    """The parameters of the model in one process: nothing is sharded, and no rank talks to another."""
    model = olmo_models.build(config, seed=SEED)
    with patched():
        model.init_weights()
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def assert_part_of(model: nn.Module, expected: dict[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        actual = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
        torch.testing.assert_close(
            actual.detach(), expected[name], rtol=0, atol=0, msg=lambda text, n=name: f"{n}: {text}"
        )


def parallelised(config: Any, dp: str = "fsdp", *, pp: int = 1, **degrees: int) -> list[nn.Module]:
    """The model parts of this rank, initialised by OLMo-core's parallelize_model; ``degrees`` of shards, tp and ep."""
    made: dict[str, Any] = {"dp": TransformerDataParallelConfig(name=DataParallelType(dp))}
    if "shards" in degrees:
        made["dp"].shard_degree = degrees["shards"]
    if "ep" in degrees:
        made["ep"] = TransformerExpertParallelConfig(degree=degrees["ep"])
    if "tp" in degrees:
        made["tp"] = TransformerTensorParallelConfig(degree=degrees["tp"])
    if pp > 1:
        schedule = PipelineScheduleType.interleaved_1F1B
        made["pp"] = TransformerPipelineParallelConfig(degree=pp, schedule=schedule, split_points=[1, 2, 3])
    with mock.patch.object(parallel, "_WORLD_MESH", None):  # OLMo-core builds one mesh a process
        mesh = build_world_mesh(device_type="cpu", **made)
    parts = [olmo_models.build(config, seed=SEED, device="meta")]
    if pp > 1:
        split = made.pop("pp").split_model
        parts = split(parts[0], pp_mesh=get_pp_mesh(mesh), device=torch.device("cpu"))[1]
    configs = {f"{name}_config": part for name, part in made.items()}
    return parallelize_model(parts, world_mesh=mesh, device=torch.device("cpu"), pp_enabled=pp > 1, **configs)


def fsdp() -> None:
    for name in ("dense", "moe", "latent_moe", "tied", "nemotron", "kimi"):
        make = olmo_models.MODELS[name]
        expected = whole(make())
        with patched():
            (model,) = parallelised(make())
        assert_part_of(model, expected)


def ddp() -> None:
    expected = whole(olmo_models.dense())
    with patched():
        (model,) = parallelised(olmo_models.dense(), "ddp")
    assert_part_of(model, expected)


def normalized() -> None:
    """The norms along a sharded dimension are sums over ranks."""
    expected = whole(olmo_models.normalized())
    with patched():
        (model,) = parallelised(olmo_models.normalized())
    assert_part_of(model, expected)


def hsdp() -> None:
    for make in (olmo_models.dense, olmo_models.moe):
        expected = whole(make())
        with patched():
            (model,) = parallelised(make(), "hsdp", shards=2)
        assert_part_of(model, expected)


def tensor_parallel() -> None:
    config = olmo_models.dense()
    config.block.sequence_mixer.attention_sinks = False  # OLMo-core does not shard them
    expected = whole(config)
    with patched():
        (model,) = parallelised(config, tp=2)
    assert_part_of(model, expected)


def expert_parallel() -> None:
    for make in (olmo_models.moe, olmo_models.latent_moe):
        expected = whole(make())
        with patched():
            (model,) = parallelised(make(), "hsdp", shards=2, ep=2)
        assert_part_of(model, expected)


def pipeline_parallel() -> None:
    """Two ranks with two stages each: OLMo-core gives each rank and each stage a seed of its own."""
    config = olmo_models.dense()
    config.n_layers = 4
    expected = whole(config)
    with patched():
        parts = parallelised(config, pp=2)
    assert len(parts) == 2
    names = {name for part in parts for name, _ in part.named_parameters()}
    assert 0 < len(names) < len(expected)
    for part in parts:
        assert_part_of(part, expected)


def moe_v2() -> None:
    """Its routed experts are plain tensors of each rank."""
    size = dist.get_world_size()
    for make in (olmo_models.moe_v2, olmo_models.recurrent_moe_v2, olmo_models.shared_moe_v2):
        expected = whole(make())
        for degree in {2, size}:
            mesh = init_device_mesh("cpu", (size // degree, degree), mesh_dim_names=("ep_dp", "ep_mp"))
            model = olmo_models.build(make(), seed=SEED, device="meta")
            model.apply_ep(dp_mesh=mesh, ep_mesh=mesh)
            with patched():
                model.init_weights(device=torch.device("cpu"), world_mesh={"dense": None, "moe": mesh})
            experts = 4 // degree
            first = mesh.get_local_rank("ep_mp") * experts
            local = {
                name: tensor[first : first + experts] if ".routed_experts." in name else tensor
                for name, tensor in expected.items()
            }
            assert_part_of(model, local)
            assert fastinit.verify_model_(model, model.init_method, seed=SEED)


def olmo_core_alone_depends_on_the_ranks() -> None:
    """What all of this is about: if this fails, the cases above no longer show anything."""
    config = olmo_models.dense()
    alone = olmo_models.build(config, seed=SEED)
    alone.init_weights()
    (model,) = parallelised(config)
    different = [
        name
        for name, parameter in model.named_parameters()
        if not torch.equal(parameter.full_tensor(), alone.get_parameter(name))
    ]
    assert any("sinks" in name for name in different), different


def tied_parameters_of_fsdp() -> None:
    config = olmo_models.tied()
    expected = whole(config)
    model = olmo_models.build(config, device="meta")
    model.apply_fsdp(init_device_mesh("cpu", (dist.get_world_size(),)))
    fastinit.init_model_(model, model.init_method, seed=SEED, embedding_std=model.embedding_init_std, device="cpu")
    assert model.lm_head.w_out.weight is model.embeddings.weight
    assert_part_of(model, expected)
    logits = model(torch.tensor([[3, 1, 4]]))
    assert bool(logits.isfinite().all())


def init_model_without_olmo_core() -> None:
    """The same values by init_model_, on FSDP2's meta parameters; and they verify, shard by shard."""
    expected = whole(olmo_models.moe())
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = olmo_models.build(olmo_models.moe(), device="meta")
    model.apply_fsdp(mesh)
    report = fastinit.init_model_(model, model.init_method, seed=SEED, device="cpu")
    assert_part_of(model, expected)
    row = report["blocks.1.feed_forward_moe.experts.mlp.w1"]
    assert (row.global_shape, row.local_shape) == ((128, 24), (128 // dist.get_world_size(), 24))
    assert fastinit.verify_model_(model, model.init_method, seed=SEED)
    weight = model.lm_head.w_out.weight.to_local()
    if dist.get_rank() == 1:
        weight.data[1, 2] += 1
    found = fastinit.verify_model_(model, model.init_method, seed=SEED)
    first = [(row.name, row.first) for row in found.different]
    row = 1 + 48 // dist.get_world_size()
    assert first == ([("lm_head.w_out.weight", (row, 2))] if dist.get_rank() == 1 else [])


class Allocations(TorchDispatchMode):
    """The most elements that an operator allocated at once on this rank; meta tensors have no memory."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not any(returned.alias_info for returned in func._schema.returns):
            plain = [
                t.numel()
                for t in tree_leaves(result)
                if isinstance(t, Tensor) and not isinstance(t, DTensor) and not t.is_meta
            ]
            self.largest = max(self.largest, *plain, 0)
        return result


def nothing_larger_than_a_shard_is_allocated() -> None:
    """OLMo-core alone makes the whole of each tensor on every rank."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))

    def largest() -> tuple[int, int]:
        model = olmo_models.build(olmo_models.moe(), seed=SEED, device="meta")
        model.apply_fsdp(mesh)
        with Allocations() as allocations:
            model.init_weights(device=torch.device("cpu"))
        return allocations.largest, max(parameter.to_local().numel() for parameter in model.parameters())

    with patched():
        allocated, shard = largest()
    assert allocated < shard + 4, (allocated, shard)  # the reference works in groups of four
    allocated, shard = largest()
    assert allocated > shard, (allocated, shard)


ANY_SIZE = [
    nothing_larger_than_a_shard_is_allocated,
    fsdp,
    ddp,
    normalized,
    pipeline_parallel,
    moe_v2,
    olmo_core_alone_depends_on_the_ranks,
    tied_parameters_of_fsdp,
    init_model_without_olmo_core,
]
ON_FOUR = [hsdp, tensor_parallel, expert_parallel]

if __name__ == "__main__":
    gloo_ranks.main(ANY_SIZE + ON_FOUR if sys.argv[1] == "4" else ANY_SIZE)
