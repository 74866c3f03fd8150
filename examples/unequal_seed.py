"""One rank of a job has another seed: found by one small all-gather, before a day of training on unequal replicas.

CPU: torchrun --nproc-per-node 4 examples/unequal_seed.py
GPU: torchrun --nproc-per-node 8 examples/unequal_seed.py
"""

import torch
import torch.distributed as dist
from torch import nn

import fastinit

device = "cuda" if torch.cuda.is_available() else "cpu"
if device == "cuda":
    torch.cuda.set_device(dist.get_node_local_rank())
dist.init_process_group()
model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)).to(device)
names = [name for name, _ in model.named_parameters()]

fastinit.check_in_sync(0, names=names)  # says nothing: all ranks would fill the same values

seed = 0 if dist.get_rank() != 2 else 12345  # a stale config on one machine
found = ""
try:
    fastinit.check_in_sync(seed, names=names)
except RuntimeError as error:  # on every rank, so that all of them stop
    found = str(error)
if dist.get_rank() == 0:
    print(found)
assert "seed is 0 on ranks 0-1" in found, found
assert "and 12345 on rank 2" in found, found
dist.destroy_process_group()
