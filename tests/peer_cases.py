"""Where initialisation by others fails on more than one rank, and fastinit's does not: ``python tests/peer_cases.py 4``.

The numbers are those of tests/test_peers.py, which has the cases of one process. In each case the other's failure is asserted, so
that it is heard of when it is mended.
"""

import re
from collections.abc import Callable
from functools import cache, partial
from itertools import combinations, product
from unittest import mock

import gloo_ranks
import olmo_models
import pytest
import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.tensor_parallel import random as megatron_random
from megatron.core.transformer.transformer_config import TransformerConfig
from olmo_cases import parallelised, whole
from olmo_core.nn.moe.mlp import MoEMLP
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.utils._python_dispatch import TorchDispatchMode

import fastinit
from fastinit import Key, init
from fastinit.integrations.olmo_core import patched

WORLD = 4
SHAPE = (2 * WORLD, 4)
KEY = Key.of("w", 5)
ONE = fastinit.normal_(torch.empty(SHAPE), key=KEY)  # what one process has


@cache
def mesh_of(*shape: int) -> DeviceMesh:
    return init_device_mesh("cpu", shape)


def sharded(shape: tuple[int, ...] = SHAPE, value: float = 0.0) -> DTensor:
    """A tensor whose rows are spread over all ranks."""
    return distribute_tensor(torch.full(shape, value), mesh_of(WORLD), [Shard(0)], src_data_rank=None)


def everywhere(tensor: Tensor) -> list[Tensor]:
    """The tensor of each rank."""
    found = [torch.empty_like(tensor) for _ in range(WORLD)]
    dist.all_gather(found, tensor.detach().contiguous())
    return found


def alike(*tensors: Tensor) -> bool:
    first, *others = tensors
    return all(torch.equal(first, other) for other in others)


def different(*tensors: Tensor) -> bool:
    return not any(torch.equal(one, other) for one, other in combinations(tensors, 2))


def case_01_shards_are_alike() -> None:
    """pytorch#138329: on a CPU's mesh each rank draws the same numbers for its part."""
    weight = sharded()
    for fill_ in (nn.init.normal_, nn.init.uniform_, nn.init.trunc_normal_):
        torch.manual_seed(0)
        fill_(weight)
        assert alike(*everywhere(weight.to_local()))
    fastinit.normal_(weight, key=KEY)
    assert different(*everywhere(weight.to_local()))
    assert alike(weight.full_tensor(), ONE)


def case_02_the_generator_is_dropped() -> None:
    """By the dispatch of DTensors; the state of the given one does not move."""

    def twice(fill_: Callable[..., Tensor]) -> tuple[list[Tensor], bool]:
        found, moved = [], False
        for seed in (1, 2):
            torch.manual_seed(seed)
            generator = torch.Generator().manual_seed(123)
            before = generator.get_state()
            found.append(fill_(sharded(), generator=generator).full_tensor())
            moved = not torch.equal(generator.get_state(), before)
        return found, moved

    found, moved = twice(nn.init.normal_)
    assert not alike(*found)
    assert not moved
    found, moved = twice(fastinit.normal_)
    assert alike(*found)
    assert moved


def case_03_a_slice_for_an_expert_is_filled_in_vain() -> None:
    """pytorch#139735, #149447: along a sharded dimension it is a copy."""
    for parts_of in (
        lambda bank: [bank[expert] for expert in range(len(bank))],
        lambda bank: bank.chunk(len(bank)),
        lambda bank: bank.split(1),
        lambda bank: [bank.narrow(0, expert, 1) for expert in range(len(bank))],
    ):
        bank = nn.Parameter(sharded((WORLD, 3, 2)))
        for part in parts_of(bank):
            nn.init.normal_(part)
        assert not bank.full_tensor().any()
        with pytest.raises(ValueError, match="LocalShard"):
            fastinit.normal_(parts_of(bank)[1], key=KEY)
    with pytest.raises(RuntimeError, match="unbind along the sharded dimension"):
        list(sharded())
    model = nn.Module()
    model.w = nn.Parameter(sharded((WORLD, 3, 2)))
    with fastinit.keyed(model, seed=KEY.seed):
        for expert in range(WORLD):
            nn.init.normal_(model.w[expert])
    assert alike(model.w.full_tensor(), fastinit.normal_(torch.empty(WORLD, 3, 2), key=KEY))


def case_04_a_padding_row_is_not_zeroed() -> None:
    """As transformers' _init_weights writes it."""
    embedding = nn.Embedding(WORLD, 4, padding_idx=1)
    embedding.weight = nn.Parameter(sharded((WORLD, 4), 1.0))
    with torch.no_grad():
        nn.init.zeros_(embedding.weight[1])
    assert embedding.weight.full_tensor().all()
    with pytest.raises(ValueError, match="copy"):
        init.zeros_(embedding.weight[1])
    with fastinit.keyed(embedding):
        nn.init.ones_(embedding.weight)
        nn.init.zeros_(embedding.weight[1])
    assert embedding.weight.full_tensor().sum(1).tolist() == [4, 0, *[4] * (WORLD - 2)]


def case_05_replicas_diverge() -> None:
    """HSDP where each rank has a seed of its own, as for its data: OLMo-core#307, pytorch#140183."""
    mesh = mesh_of(WORLD // 2, 2)
    weight = distribute_tensor(torch.zeros(SHAPE), mesh, [Replicate(), Shard(0)], src_data_rank=None)
    mine = dist.get_rank()
    torch.manual_seed(mine)
    nn.init.normal_(weight)
    found = everywhere(weight.to_local())
    assert different(*found)  # where ranks 0 and 2 have the same part
    fastinit.normal_(weight, key=KEY)
    found = everywhere(weight.to_local())
    for part in range(2):
        assert alike(*found[part::2], ONE.chunk(2)[part])


class Draws(TorchDispatchMode):
    """How often torch drew."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


def case_06_a_rank_rejects_by_itself() -> None:
    """trunc_normal_ draws again until nothing is outside: each rank as often as its part wants; pytorch#167213."""

    def after(fill_: Callable[[Tensor, Key], object]) -> tuple[Tensor, Tensor]:
        """How often each of five weights was drawn, and a replicated weight that comes after them."""
        torch.manual_seed(0)
        counts = torch.zeros(5, dtype=torch.int64)
        for number in range(5):
            with Draws() as draws:
                fill_(sharded((2 * WORLD - 1, 4)), Key.of(f"{number}"))  # the last rank has a row less
            counts[number] = draws.count
        router = distribute_tensor(torch.zeros(3, 4), mesh_of(WORLD), [Replicate()], src_data_rank=None)
        fill_(router, KEY)
        return counts, router.to_local()

    counts, router = after(lambda weight, key: nn.init.trunc_normal_(weight))
    assert not alike(*everywhere(counts))
    assert different(*everywhere(router)[-2:])
    counts, router = after(lambda weight, key: fastinit.trunc_normal_(weight, key=key))
    assert not counts.any()
    assert alike(*everywhere(router), fastinit.trunc_normal_(torch.empty(3, 4), key=KEY))


def case_10_the_fan_of_experts_below_each_other() -> None:
    """OLMo-core resets a bank of (expert in, out) by its last dimension: the bound is 1 / sqrt(out)."""
    theirs = MoEMLP(d_model=64, hidden_size=16, num_experts=4)
    theirs.reset_parameters()
    bank = theirs.w1.detach()
    assert bank.shape == (4 * 64, 16)
    assert 0.24 < bank.abs().amax() <= 16**-0.5
    init.kaiming_uniform_(bank, a=5**0.5, layout="(e i) o", num_experts=4)
    assert 0.12 < bank.abs().amax() <= 64**-0.5


def full(*parts: nn.Module) -> dict[str, Tensor]:
    """The whole tensors of a model, or of what a pipeline stage has of it."""
    named = [named for part in parts for named in part.named_parameters()]
    return {name: (weight.full_tensor() if isinstance(weight, DTensor) else weight).detach() for name, weight in named}


def unequal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in found.items() if not torch.equal(tensor, expected[name])}


def case_11_values_depend_on_the_pipeline() -> None:
    """OLMo-core#679: each stage has a seed of its own."""
    config = olmo_models.dense()
    config.n_layers = 4
    config.block.sequence_mixer.attention_sinks = False  # they are the next case
    alone = olmo_models.build(config, seed=6)
    alone.init_weights()
    assert not unequal(full(*parallelised(config)), full(alone))
    assert unequal(full(*parallelised(config, pp=2)), full(alone))
    expected = whole(config)
    with patched():
        stages = parallelised(config, pp=2)
    found = full(*stages)
    assert 0 < len(found) < len(expected)
    assert not unequal(found, expected)


def case_12_some_parameters_are_drawn_as_shards() -> None:
    """Those of OLMo-core that go past its own _apply_init: here the attention's sinks, which have the same numbers on all ranks."""
    config = olmo_models.dense()
    alone = olmo_models.build(config, seed=6)
    alone.init_weights()
    (model,) = parallelised(config)
    name = "blocks.1.attention.sinks"
    assert name in unequal(full(model), full(alone))
    assert alike(*everywhere(model.get_parameter(name).to_local()))
    with patched():
        (model,) = parallelised(config)
    assert different(*everywhere(model.get_parameter(name).to_local()))
    assert not unequal(full(model), whole(config))


def case_13_seeds_of_experts_collide() -> None:
    """Megatron-LM adds 100 to the seed for each pipeline stage, and Megatron-core as much for each expert-parallel rank."""
    seeds = set()
    for stage, rank in product(range(4), range(8)):
        tracker = mock.Mock()
        with (
            mock.patch.object(megatron_random, "initialize_rng_tracker"),
            mock.patch.object(megatron_random, "_CUDA_RNG_STATE_TRACKER", tracker),
        ):
            megatron_random.model_parallel_cuda_manual_seed(1234 + 100 * stage, tp_rank=0, ep_rank=rank, etp_rank=0)
        added = {call.args[0]: call.args[1] for call in tracker.add.call_args_list}
        seeds.add(added["expert-parallel-rng"])
    assert len(seeds) == 11
    names = [
        f"decoder.layers.{stage}.mlp.experts.local_experts.{rank}.w" for stage, rank in product(range(4), range(8))
    ]
    assert different(*(fastinit.normal_(torch.empty(4), key=Key.of(name, 1234)) for name in names))


def megatron(experts: int) -> GPTModel:
    """A rank's part of a mixture of four experts."""
    parallel_state.destroy_model_parallel()
    parallel_state.initialize_model_parallel(expert_model_parallel_size=experts, create_gloo_process_groups=False)
    sizes = dict(num_layers=1, hidden_size=8, num_attention_heads=2, num_moe_experts=4, moe_ffn_hidden_size=8)
    config = TransformerConfig(
        **sizes, expert_model_parallel_size=experts, add_bias_linear=False, use_cpu_initialization=True
    )
    return GPTModel(config, get_gpt_layer_local_spec(4), vocab_size=8, max_sequence_length=8)


def case_14_experts_are_duplicates() -> None:
    """Megatron-LM#6985: with use_cpu_initialization each rank draws the whole bank's first experts."""
    recipe = fastinit.record(partial(megatron, 1))
    expected = megatron(1)
    fastinit.init_model_(expected, recipe, seed=7)
    torch.manual_seed(0)
    model = megatron(2)
    rank = parallel_state.get_expert_model_parallel_rank()
    assert rank == dist.get_rank() % 2

    def experts() -> list[Tensor]:
        """One matrix of each of the four, from ranks 0 and 1."""
        names = [f"decoder.layers.0.mlp.experts.local_experts.{number}.linear_fc2.weight" for number in range(2)]
        first, second = (everywhere(model.get_parameter(name).detach()) for name in names)
        return [first[0], second[0], first[1], second[1]]

    one, two, three, four = experts()
    assert alike(one, three)
    assert alike(two, four)

    def rename(name: str) -> str:
        return re.sub(r"(?<=local_experts\.)\d+", lambda number: str(int(number[0]) + 2 * rank), name)

    fastinit.init_model_(model, recipe, seed=7, rename=rename)
    assert different(*experts())
    for name, weight in model.named_parameters():
        assert torch.equal(weight, expected.get_parameter(rename(name))), name


CASES = [case for name, case in sorted(globals().items()) if name.startswith("case_")]

if __name__ == "__main__":
    gloo_ranks.main(CASES)
