"""What recipes cost: a model of 671 billion parameters, and a live initialisation of many matrices."""

import gc
import time
from collections.abc import Callable

import torch
from forked import Forked
from torch import Tensor, nn

import fastinit
from fastinit import foreach_fill_
from fastinit.law.distributions import Normal

MATRICES = 10_000
# Seconds of CPU a parameter, beyond what torch.nn.init and one foreach_fill_ take, and without Python's collector, with
# which it is some 150e-6.
LIVE_BUDGET = 100e-6
RECORD_BUDGET = 5.0  # seconds of CPU
MEMORY_BUDGET = 2**20  # KiB of a whole process, torch and transformers with it

# The configuration that deepseek-ai/DeepSeek-V3 was published with.
DEEPSEEK_V3 = """
import math, resource, time
import torch, transformers, fastinit
from transformers.models.deepseek_v3 import modeling_deepseek_v3

config = transformers.AutoConfig.for_model(
    "deepseek_v3",
    vocab_size=129280,
    hidden_size=7168,
    intermediate_size=18432,
    moe_intermediate_size=2048,
    num_hidden_layers=61,
    num_attention_heads=128,
    num_key_value_heads=128,
    n_shared_experts=1,
    n_routed_experts=256,
    num_experts_per_tok=8,
    n_group=8,
    topk_group=4,
    routed_scaling_factor=2.5,
    first_k_dense_replace=3,
    q_lora_rank=1536,
    kv_lora_rank=512,
    qk_rope_head_dim=64,
    qk_nope_head_dim=128,
    v_head_dim=128,
    initializer_range=0.02,
)
start = time.process_time()
recipe = fastinit.record(lambda: transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16))
seconds = time.process_time() - start
numbers = sum(math.prod(entry.shape) for entry in recipe)
print(len(recipe), numbers, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(recipe["model.layers.60.mlp.experts.gate_up_proj"].text())
print(recipe.kinds())
"""


def test_a_model_of_671_billion_parameters_is_recorded_in_seconds() -> None:
    done = Forked("-c", DEEPSEEK_V3).wait()
    assert done.returncode == 0, done.stderr
    numbers, law, kinds = done.stdout.splitlines()
    parameters, elements, seconds, memory = numbers.split()
    assert (int(parameters), int(elements)) == (909, 671_026_404_352)
    assert (law, kinds) == ("normal, std 0.02", "{'law': 664, 'constant': 245}")
    assert float(seconds) < RECORD_BUDGET, seconds
    assert int(memory) < MEMORY_BUDGET, memory


class Matrices(nn.Module):
    """Many small matrices, so that what is told apart is the cost of one."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(16, 16)) for _ in range(number))

    def init_weights(self) -> None:
        for weight in self.weights:
            nn.init.normal_(weight, std=0.02)


def test_what_a_live_initialisation_costs() -> None:
    model = Matrices(MATRICES)
    weights: list[Tensor] = [weight.detach() for weight in model.parameters()]
    keys = [fastinit.Key.of(name) for name, _ in model.named_parameters()]

    def live() -> None:
        with fastinit.keyed(model, seed=0):
            model.init_weights()

    def alone() -> None:
        model.init_weights()
        foreach_fill_(weights, Normal(0.0, 0.02), keys=keys)

    overheads = [seconds_of(live) - seconds_of(alone) for _ in range(4)]
    assert min(overheads) < LIVE_BUDGET * MATRICES, [f"{o / MATRICES * 1e6:.0f} us" for o in overheads]


def seconds_of(function: Callable[[], None]) -> float:
    """The CPU time of this thread, without the collector's, which depends on all else that the process holds."""
    gc.collect()
    gc.disable()
    try:
        start = time.thread_time()
        function()
        return time.thread_time() - start
    finally:
        gc.enable()
