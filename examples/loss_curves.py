"""Losses of 1, 2 and 4 ranks that begin at the same bits, and torch's, which do not, on GPUs (pytorch#168058) or a CPU (#138329).

CPU: torchrun --nproc-per-node 4 examples/loss_curves.py
GPU: torchrun --nproc-per-node 4 examples/loss_curves.py
"""

import matplotlib.pyplot as plt
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

import fastinit

device = "cuda" if torch.cuda.is_available() else "cpu"
dist.init_process_group()
meshes = [DeviceMesh(device, torch.arange(ranks)) for ranks in (1, 2, 4)]
x = torch.linspace(-3, 3, 64, device=device)[:, None]
figure, axes = plt.subplots(1, 2, sharey=True, figsize=(8, 3), layout="constrained")
for ours, axis in zip((True, False), axes, strict=True):
    for mesh in [mesh for mesh in meshes if dist.get_rank() < mesh.size()]:
        torch.manual_seed(0)
        model = fully_shard(nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 1)).to(device), mesh=mesh)
        for name, weight in model.named_parameters():
            fastinit.normal_(weight, key=fastinit.Key.of(name, seed=0)) if ours else nn.init.normal_(weight)
        optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.01), []
        for _ in range(40):
            errors = (model(x) - x.sin()).square()
            errors[mesh.get_rank() :: mesh.size()].mean().backward()  # each rank learns from its part of the batch
            optimizer.step()
            optimizer.zero_grad()
            losses.append(errors.mean().item())
        axis.plot(losses, ["", "-", "--", "", ":"][mesh.size()], label=f"ranks: {mesh.size()}")
    axis.set(title="fastinit" if ours else "torch.nn.init", xlabel="step", ylabel="loss", yscale="log")
plt.legend()
if dist.get_rank() == 0:
    figure.savefig("loss_curves.svg")
    assert [len({line.get_ydata()[0] for line in axis.lines}) for axis in axes] == [1, 3]  # how many first losses
dist.destroy_process_group()
