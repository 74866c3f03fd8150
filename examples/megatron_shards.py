"""Megatron-core's plain tensors, tensor and expert parallel: each rank says which part it has, and gets the whole model's bits.

CPU: torchrun --nproc-per-node 4 examples/megatron_shards.py
GPU: torchrun --nproc-per-node 8 examples/megatron_shards.py
"""

import re
from functools import partial

import torch
import torch.distributed as dist
from megatron.core import parallel_state as mpu
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.transformer.transformer_config import TransformerConfig

from fastinit import LocalShard, init_model_, record


def build(tp: int, ep: int) -> GPTModel:
    mpu.destroy_model_parallel()
    mpu.initialize_model_parallel(tp, expert_model_parallel_size=ep, create_gloo_process_groups=False)
    sizes = dict(num_layers=2, hidden_size=32, num_attention_heads=4, num_moe_experts=4, moe_ffn_hidden_size=64)
    degrees = dict(tensor_model_parallel_size=tp, expert_model_parallel_size=ep)
    config = TransformerConfig(**sizes, **degrees, add_bias_linear=False, use_cpu_initialization=True)
    return GPTModel(config, get_gpt_layer_local_spec(4), vocab_size=64, max_sequence_length=16)


dist.init_process_group()
recipe, whole, model = record(lambda: build(1, 1)), build(1, 1), build(2, 2)  # then model.cuda(), on GPUs
tp, first = mpu.get_tensor_model_parallel_rank(), 2 * mpu.get_expert_model_parallel_rank()
cuts = {name: p.partition_dim for name, p in model.named_parameters() if hasattr(p, "partition_dim")}
shards = {name: LocalShard.split(whole.get_parameter(name).shape, {dim: (tp, 2)}) for name, dim in cuts.items()}
numbers = partial(re.compile(r"(?<=local_experts\.)\d+").sub, lambda number: str(int(number[0]) + first))
init_model_(whole, recipe, seed=0)
init_model_(model, recipe, seed=0, shards=shards, rename=numbers)  # each rank counts its experts from 0
for name, parameter in model.named_parameters():
    expected = whole.get_parameter(numbers(name))
    assert torch.equal(parameter, expected.chunk(2, cuts[name])[tp] if name in cuts else expected), name
dist.destroy_process_group()
