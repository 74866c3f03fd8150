"""Cases of a gloo world: models under FSDP2, HSDP, tensor, expert and pipeline parallelism."""

import torch
import torch.distributed as dist
from rank_checks import BITS, SEED, WORLD, assert_same, fill_, mesh_of, silent, whole
from torch import Tensor, nn
from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.placement_types import _StridedShard

from fastinit import Key
from fastinit.shard.dtensor import local_fills


def fill_silently(parameters: dict[str, Tensor]) -> None:
    """Fill by name, from NaN."""
    for name, parameter in parameters.items():
        with torch.no_grad():
            parameter.fill_(torch.nan)
        with silent():
            assert fill_(parameter, key=Key.of(name, SEED)) is parameter


def assert_model_is_whole(model: nn.Module) -> None:
    """Fill the sharded parameters, and compare what they are together with the truth."""
    parameters = dict(model.named_parameters())
    assert all(isinstance(parameter, DTensor) for parameter in parameters.values())
    fill_silently(parameters)
    for name, parameter in parameters.items():
        assert_same(parameter.full_tensor(), whole(name, tuple(parameter.shape), parameter.dtype), name)


class Block(nn.Module):
    """With sizes that no mesh divides, the bank's rows aside."""

    def __init__(self, rows: int = 10, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.up = nn.Linear(6, rows, bias=True, dtype=dtype)
        self.down = nn.Linear(rows, 6, bias=False, dtype=dtype)
        self.bank = nn.Parameter(torch.empty(8, 16, 3, dtype=dtype))


def fsdp2() -> None:
    for dtype in BITS:
        model = fully_shard(Block(dtype=dtype), mesh=mesh_of(WORLD))
        assert_model_is_whole(model)
        for parameter in model.parameters():
            local = parameter.to_local()
            storage = torch.tensor([], dtype=dtype).set_(local.untyped_storage())
            assert not storage[local.numel() :].any()  # the padding of an uneven shard
        model.unshard()
        for name, parameter in model.named_parameters():
            assert_same(parameter.detach(), whole(name, tuple(parameter.shape), dtype), name)


def fsdp2_from_the_meta_device() -> None:
    with torch.device("meta"):
        model = Block()
    fully_shard(model, mesh=mesh_of(WORLD))
    for name, parameter in model.named_parameters():
        assert fill_(parameter, key=Key.of(name, SEED)) is parameter
        assert local_fills(parameter) == []
    assert_model_is_whole(model.to_empty(device="cpu"))


def fsdp2_with_cpu_offload() -> None:
    policy = CPUOffloadPolicy(pin_memory=False)  # memory is pinned for an accelerator
    assert_model_is_whole(fully_shard(Block(), mesh=mesh_of(WORLD), offload_policy=policy))


def hsdp_with_another_seed_on_each_rank() -> None:
    torch.manual_seed(dist.get_rank())
    assert_model_is_whole(fully_shard(Block(), mesh=mesh_of(2, WORLD // 2, names=("replicate", "shard"))))


def fsdp2_over_tensor_parallelism() -> None:
    """FSDP2 splits ``up`` along the dimension of tensor parallelism, and ``down`` along another."""
    for data, rows in ((WORLD // 2, 16), (WORLD // 2, 9), (2, 10)):
        mesh = mesh_of(data, WORLD // data, names=("data", "tensor"))
        model = Block(rows)
        parallelize_module(model, mesh["tensor"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
        fully_shard(model.up, mesh=mesh["data"])
        fully_shard(model.down, mesh=mesh["data"])
        parameters = {name: parameter for name, parameter in model.named_parameters() if name != "bank"}
        assert any(isinstance(p, _StridedShard) for p in parameters["up.weight"].placements)
        fill_silently(parameters)
        for name, parameter in parameters.items():
            assert_same(parameter.full_tensor(), whole(name, tuple(parameter.shape)), name, rows)


def hsdp_over_tensor_parallelism() -> None:
    mesh = mesh_of(2, WORLD // 4, 2, names=("replicate", "shard", "tensor"))
    layer = parallelize_module(nn.Linear(5, 16, bias=False), mesh["tensor"], ColwiseParallel())
    assert_model_is_whole(fully_shard(layer, mesh=mesh["replicate", "shard"]))


def expert_parallelism_with_fsdp2_on_another_dimension() -> None:
    mesh = mesh_of(WORLD // 2, 2, names=("data", "expert"))
    experts = nn.Module()
    experts.bank = nn.Parameter(distribute_tensor(torch.empty(8, 16, 3), mesh["expert"], [Shard(0)]))
    experts.forward = lambda: None
    fully_shard(experts, mesh=mesh["data"], shard_placement_fn=lambda parameter: Shard(1))
    assert experts.bank.placements == (Shard(1), Shard(0))
    assert_model_is_whole(experts)


def a_pipeline_split() -> None:
    """Each stage has its own layers, on its own part of the mesh, and gives them the values of the whole model."""
    mesh = mesh_of(2, WORLD // 2, names=("pipeline", "data"))
    stage = mesh["pipeline"].get_local_rank()
    model = nn.ModuleDict({str(layer): Block() for layer in (2 * stage, 2 * stage + 1)})
    for block in model.values():
        fully_shard(block, mesh=mesh["data"])
    assert_model_is_whole(model)


CASES = [
    fsdp2,
    fsdp2_from_the_meta_device,
    fsdp2_with_cpu_offload,
    hsdp_with_another_seed_on_each_rank,
    fsdp2_over_tensor_parallelism,
    hsdp_over_tensor_parallelism,
    expert_parallelism_with_fsdp2_on_another_dimension,
    a_pipeline_split,
]
