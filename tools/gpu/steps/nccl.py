"""NCCL with one rank: DTensors of every placement, fully_shard, and fills beside a collective."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

import fastinit
from fastinit import Key
from gpu.fills import empty, fill, fill_list, is_filled
from gpu.here import Here
from gpu.truth import Wrong

KEY = Key.of("sharded", seed=1)


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    return {
        "DTensors": lambda: _dtensors(here),
        "a list of DTensors": lambda: _list(here),
        "fully_shard, by name": lambda: _fully_shard(here),
        "beside a collective": lambda: _beside(here),
    }


@contextmanager
def _mesh(here: Here) -> Iterator[DeviceMesh]:
    dist.init_process_group(here.collectives, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield init_device_mesh(here.device.type, (1,))
    finally:
        torch.cuda.synchronize()
        dist.destroy_process_group()


def _shape(here: Here) -> tuple[int, int]:
    return here.sizes.fill // 64, 64


def _dtensors(here: Here) -> dict:
    elements = 0
    with _mesh(here) as mesh:
        for placement in (Shard(0), Shard(1), Replicate()):
            tensor = distribute_tensor(empty(here).resize_(_shape(here)), mesh, [placement])
            fill(tensor, KEY)
            elements += is_filled(here, tensor.full_tensor(), KEY)  # gathered by NCCL
    return {"elements": elements}


def _list(here: Here) -> dict:
    with _mesh(here) as mesh:
        tensors = [distribute_tensor(empty(here, 640).view(10, 64), mesh, [Shard(k)]) for k in (0, 1)]
        own = [Key.of(f"sharded {k}") for k in (0, 1)]
        fill_list(tensors, own)
        found = zip(tensors, own, strict=True)
        return {"elements": sum(is_filled(here, tensor.full_tensor(), key) for tensor, key in found)}


class _Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up_proj, self.down_proj = nn.Linear(64, 96), nn.Linear(96, 64)


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp = _Mlp()


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Block() for _ in range(3))


def _fully_shard(here: Here) -> dict:
    with torch.device("meta"):
        plain, sharded = _Model(), _Model()
    plain.to_empty(device=here.device)
    fastinit.init_model_(plain, "normal", seed=3)
    with _mesh(here) as mesh:
        fully_shard(sharded, mesh=mesh).to_empty(device=here.device)
        fastinit.init_model_(sharded, "normal", seed=3)
        for (name, one), other in zip(plain.named_parameters(), sharded.parameters(), strict=True):
            if not torch.equal(one, other.full_tensor()):
                raise Wrong(f"{name} differs between the sharded model and the whole")
    return {"parameters": len(list(plain.parameters()))}


def _beside(here: Here) -> dict:
    """While NCCL's stream reduces one tensor, another is filled, and then the one that was reduced."""
    with _mesh(here):
        reduced, tensor = torch.ones(here.sizes.fill, device=here.device), empty(here)
        work = dist.all_reduce(reduced, async_op=True)
        fill(tensor, KEY)
        work.wait()
        fill(reduced, KEY)
        return {"elements": is_filled(here, tensor, KEY) + is_filled(here, reduced, KEY)}
