"""OLMo-core, unmodified: its own init_weights() under FSDP2 gives the bits of one process, without its scatters.

CPU: torchrun --nproc-per-node 2 examples/olmo_core_patched.py
GPU: torchrun --nproc-per-node 8 examples/olmo_core_patched.py
"""

import torch
import torch.distributed as dist
from olmo_core.nn.transformer import Transformer, TransformerConfig
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.debug import CommDebugMode

from fastinit.integrations.olmo_core import patched

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
dist.init_process_group()
mesh = init_device_mesh(device.type, (dist.get_world_size(),))
sizes = dict(vocab_size=64, d_model=32, n_layers=2, n_heads=4, hidden_size_multiple_of=8)
config = TransformerConfig.llama_like_moe(**sizes, num_experts=4, top_k=2, expert_hidden_size=16)


def sharded() -> Transformer:
    model = config.build(init_device="meta")
    model.apply_fsdp(mesh)
    return model


whole, model, stock = config.build(init_device="cpu"), sharded(), sharded()
with CommDebugMode() as theirs:
    stock.init_weights(device=device)
with patched(seed=0), CommDebugMode() as ours:
    whole.init_weights()
    model.init_weights(device=device)
if dist.get_rank() == 0:
    print(f"OLMo-core by itself: {theirs.get_total_counts()} collectives, patched: {ours.get_total_counts()}")
assert ours.get_total_counts() == 0
for name, parameter in model.named_parameters():
    assert torch.equal(parameter.full_tensor().cpu(), whole.get_parameter(name)), name
dist.destroy_process_group()
