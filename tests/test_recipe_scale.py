"""What recipes cost: a model of 671 billion parameters, and a live initialisation of many matrices."""

import gc
import sys
from collections.abc import Callable

import pytest
import torch
import torch.distributed.tensor  # with which a few calls tell whether a tensor is one of its
from forked import Forked
from torch import Tensor, nn

import fastinit

MATRICES = (
    400,
    800,
)  # what a further one costs is the same at any size: counted, so that no other work on the machine counts
# Objects that Python's collector visits, for each parameter while the initialisation runs: the storage's reference with
# torch's function in it, its state, what is drawn, the leaf, and the key.
OBJECTS_BUDGET = 6
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

    def __init__(self, number: int, init: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(16, 16)) for _ in range(number))
        self._init = init

    def init_weights(self) -> None:
        for weight in self.weights:
            self._init(weight)


INITS: dict[str, Callable[[Tensor], object]] = {
    "an operator": lambda weight: nn.init.normal_(weight, std=0.02),
    "a hook": lambda weight: nn.init.trunc_normal_(weight, std=0.02),
}
# Calls of functions, Python's and C's, for each parameter beyond torch.nn.init's own: some 40 us in all.
CALLS_BUDGET = {"an operator": 200, "a hook": 160}


@pytest.mark.parametrize("name", INITS)
def test_what_a_live_initialisation_costs(name: str) -> None:
    """The time of 10 000 is a row of ``python -m bench live``."""
    first, second = (live_calls(Matrices(number, INITS[name])) for number in MATRICES)
    assert (second - first) / (MATRICES[1] - MATRICES[0]) <= CALLS_BUDGET[name]


def live_calls(model: Matrices) -> int:
    def live() -> None:
        with fastinit.keyed(model, seed=0):
            model.init_weights()

    return calls_of(live) - calls_of(model.init_weights)


def calls_of(function: Callable[[], None]) -> int:
    function()  # what is remembered for the next one
    count = 0

    def seen(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("name", INITS)
def test_what_a_live_initialisation_keeps(name: str) -> None:
    """With Python's collector at work, as it is for users: it is what many objects cost."""
    first, second = (objects_kept(Matrices(number, INITS[name])) for number in MATRICES)
    assert (second - first) / (MATRICES[1] - MATRICES[0]) <= OBJECTS_BUDGET


def objects_kept(model: Matrices) -> int:
    for weight in model.weights:
        weight.untyped_storage()  # of which torch keeps an object, whoever asks first
    with fastinit.keyed(model, seed=0):
        gc.collect()
        before = len(gc.get_objects())
        model.init_weights()
        gc.collect()
        return len(gc.get_objects()) - before


def test_the_collector_runs_while_users_code_does() -> None:
    """What the initialisation makes and drops goes, however long it takes."""
    model = Matrices(2, lambda weight: nn.init.normal_(weight) if gc.isenabled() else None)
    with fastinit.keyed(model, seed=0):
        model.init_weights()
    assert gc.isenabled()
