"""torchtitan's own `parallelize`, FSDP2 over TP, and its own laws, with the bits of one process: no seed checkpoint is needed.

CPU: torchrun --nproc-per-node 4 examples/torchtitan_llama3.py
GPU: torchrun --nproc-per-node 8 examples/torchtitan_llama3.py
"""

import torch
import torch.distributed as dist
from torchtitan.config import CompileConfig, ParallelismConfig, TrainingConfig
from torchtitan.distributed import parallel_dims, utils
from torchtitan.models.llama3 import llama3_configs
from torchtitan.models.llama3.parallelize import parallelize_llama
from torchtitan.models.llama3.sharding import set_llama3_sharding_config

import fastinit

device = parallel_dims.device_type = "cuda" if torch.cuda.is_available() else "cpu"
dist.init_process_group()
utils.set_spmd_backend("partial_dtensor")
parallelism = ParallelismConfig(spmd_backend="partial_dtensor", tensor_parallel_degree=2)
config = llama3_configs["debugmodel"]("flex")
config.layers = config.layers[:2]
set_llama3_sharding_config(config, enable_sp=True)

with torch.device("meta"):
    model = config.build()
dims = parallel_dims.ParallelDims.from_config(parallelism, dist.get_world_size())
training = dict(training=TrainingConfig(), compile_config=CompileConfig(), ac_config=None, dump_folder="")
parallelize_llama(model, parallel_dims=dims, parallelism=parallelism, **training)
with fastinit.keyed(model, seed=0) as report:  # around what torchtitan's trainer does next
    model.to_empty(device=device)
    model.init_states(buffer_device=torch.device(device))
if dist.get_rank() == 0:
    print(report)

whole = config.build()
fastinit.init_model_(whole, fastinit.record(config.build), seed=0)  # the same laws from a recipe, in one process
for name, parameter in model.named_parameters():
    assert torch.equal(parameter.full_tensor().cpu(), whole.get_parameter(name)), name
dist.destroy_process_group()
