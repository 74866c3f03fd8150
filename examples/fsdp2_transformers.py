"""A mixture of experts of transformers under FSDP2: transformers' own laws, and the bits of one process on any number of ranks.

CPU: torchrun --nproc-per-node 2 examples/fsdp2_transformers.py
GPU: torchrun --nproc-per-node 8 examples/fsdp2_transformers.py
"""

import torch
import torch.distributed as dist
from accelerate import init_empty_weights
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

import fastinit

device = "cuda" if torch.cuda.is_available() else "cpu"
dist.init_process_group()
mesh = init_device_mesh(device, (dist.get_world_size(),))
sizes = dict(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
config = Qwen3MoeConfig(**sizes, num_experts=8, moe_intermediate_size=16, head_dim=8)  # or AutoConfig.from_pretrained

recipe = fastinit.record(lambda: Qwen3MoeForCausalLM(config))  # runs transformers' own initialisation, without memory

with init_empty_weights():  # parameters alone are on the meta device: buffers are made, and fully_shard moves them
    model = Qwen3MoeForCausalLM(config)
model.tie_weights()  # init_empty_weights takes ties apart
for block in model.model.layers:
    fully_shard(block, mesh=mesh)
fully_shard(model, mesh=mesh)
report = fastinit.init_model_(model, recipe, seed=0, device=device)  # each rank fills its own shards, and no rank talks
if dist.get_rank() == 0:
    print(report)

whole = Qwen3MoeForCausalLM(config)
fastinit.init_model_(whole, recipe, seed=0)
model(torch.arange(16, device=device)[None]).logits.sum().backward()  # and it runs
for name, parameter in model.named_parameters():
    assert torch.equal(parameter.full_tensor().cpu(), whole.get_parameter(name)), name
dist.destroy_process_group()
