"""A restart that finds three of four shards of the first weights, and makes the fourth again from (seed, name, place).

CPU: torchrun --nproc-per-node 4 examples/lost_shard.py
GPU: torchrun --nproc-per-node 4 examples/lost_shard.py
"""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import fastinit

device = "cuda" if torch.cuda.is_available() else "cpu"
dist.init_process_group()
mesh, rank = init_device_mesh(device, (dist.get_world_size(),)), dist.get_rank()
file = Path(f"shard-{rank}.pt")
with torch.device("meta"):
    recipe = fastinit.record(nn.TransformerEncoderLayer(32, 4, 64))


def start() -> dict[str, torch.Tensor]:
    if file.exists():
        return torch.load(file)
    with torch.device("meta"):
        model = fully_shard(nn.TransformerEncoderLayer(32, 4, 64), mesh=mesh)
    fastinit.init_model_(model, recipe, seed=0, device=device)  # no other rank has anything to do with it
    return {name: parameter.to_local().detach() for name, parameter in model.named_parameters()}


first = start()
if rank != 2:
    torch.save(first, file)
second = start()
assert all(torch.equal(second[name], shard) for name, shard in first.items())
assert file.exists() == (rank != 2)
dist.destroy_process_group()
