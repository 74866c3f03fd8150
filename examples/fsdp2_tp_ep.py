"""FSDP2 over tensor and expert parallelism by hand: every element knows its global index, so no layout changes a bit.

CPU: torchrun --nproc-per-node 4 examples/fsdp2_tp_ep.py
GPU: torchrun --nproc-per-node 8 examples/fsdp2_tp_ep.py
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import fastinit

device = "cuda" if torch.cuda.is_available() else "cpu"
dist.init_process_group()
mesh = init_device_mesh(device, (dist.get_world_size() // 2, 2), mesh_dim_names=("dp", "model"))

with torch.device("meta"):
    block = nn.Sequential(nn.Linear(32, 64), nn.Linear(64, 32, bias=False))
    block.experts = nn.Parameter(torch.empty(8, 32, 16))
whole = {name: torch.empty(parameter.shape) for name, parameter in block.named_parameters()}

parallelize_module(block, mesh["model"], {"0": ColwiseParallel(), "1": RowwiseParallel()})
experts = distribute_tensor(block.experts.detach(), mesh["model"], [Shard(0)], src_data_rank=None)
block.experts = nn.Parameter(experts)  # a half of them on each of two ranks
fully_shard(block, mesh=mesh["dp"])
block.to_empty(device=device)

for name, parameter in block.named_parameters():
    fastinit.trunc_normal_(parameter, std=0.02, a=-0.06, b=0.06, key=fastinit.Key.of(name, seed=0))
    print(f"rank {dist.get_rank()}: {tuple(parameter.to_local().shape)} of {name}, {tuple(parameter.shape)}")

for name, tensor in whole.items():
    fastinit.trunc_normal_(tensor, std=0.02, a=-0.06, b=0.06, key=fastinit.Key.of(name, seed=0))
    assert torch.equal(block.get_parameter(name).full_tensor().cpu(), tensor), name
dist.destroy_process_group()
