"""What all calls of fastinit.init have in common: torch's names and arguments, what is filled, and what is left alone."""

import inspect
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from init_calls import CONSTANT, RANDOM, Call
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import fastinit
from fastinit import Key, LocalShard, init
from fastinit.shard.storage import DTYPES

KEY = Key(2**64 - 5, 2**63 + 7)
EVERY = {**{name: lambda t, f=fill_: f(t, key=KEY) for name, fill_ in RANDOM.items()}, **CONSTANT}
every = pytest.mark.parametrize("fill_", EVERY.values(), ids=EVERY)
random = pytest.mark.parametrize("fill_", RANDOM.values(), ids=RANDOM)
Weight = Callable[[Tensor], Tensor]


def same(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got.detach(), expected, rtol=0, atol=0)


# ------------------------------------------------------------------------------------------------------ names, arguments

_FAN = ("kaiming", "xavier", "lecun", "variance", "orthogonal")
WITH_A_FAN = {name for name in init.__all__ if name.startswith(_FAN) and name.endswith("_")}
ADDED = {
    **{name: ["key", "shard"] for name in torch.nn.init.__all__ if name.endswith("_")},
    **{name: ["key", "shard", "layout", "num_experts"] for name in WITH_A_FAN},
    "calculate_gain": [],
}


def test_every_name_of_torch_is_there() -> None:
    assert set(torch.nn.init.__all__) <= set(init.__all__)
    assert all(callable(getattr(init, name)) for name in init.__all__)
    assert {"lecun_normal_", "variance_scaling_", "trunc_normal_tf_"} == set(init.__all__) - set(torch.nn.init.__all__)


@pytest.mark.parametrize("name", [name for name in torch.nn.init.__all__ if name in ADDED])
def test_arguments_are_torchs_and_ours_come_by_name(name: str) -> None:
    ours = list(inspect.signature(getattr(init, name)).parameters.values())
    theirs = list(inspect.signature(getattr(torch.nn.init, name)).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert [p.name for p in ours[len(theirs) :]] == ADDED[name]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is None for p in ours[len(theirs) :])


def test_the_migration() -> None:
    from fastinit import init as imported

    assert imported is init is fastinit.init


ALIASES = [name for name in torch.nn.init.__all__ if not name.endswith("_") and name != "calculate_gain"]


@pytest.mark.parametrize("name", ALIASES)
def test_a_deprecated_name_warns_and_does_what_the_other_does(name: str) -> None:
    arguments = {"constant": (0.3,), "sparse": (0.3,)}.get(name, ())
    shape = (4, 3, 3, 3) if name == "dirac" else (4, 3)
    with pytest.warns(FutureWarning, match=f"use fastinit.init.{name}_$") as caught:
        got = getattr(init, name)(torch.empty(shape), *arguments, key=KEY)
    assert caught[0].filename == __file__
    same(got, getattr(init, f"{name}_")(torch.empty(shape), *arguments, key=KEY))
    assert getattr(init, name).__name__ == name


# ------------------------------------------------------------------------------------------------------------- what is filled


@every
def test_the_same_tensor_comes_back_and_autograd_sees_the_change(fill_: Weight) -> None:
    parameter = torch.nn.Parameter(torch.full((6, 8), math.nan))
    version, loss = parameter._version, (parameter * parameter).sum()
    assert fill_(parameter) is parameter
    assert parameter.requires_grad
    assert parameter.grad_fn is None
    assert parameter._version > version
    assert bool(parameter.isfinite().all())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@every
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_has_the_fp32_values_rounded(fill_: Weight, dtype: torch.dtype) -> None:
    truth, got = fill_(torch.empty(6, 8)), fill_(torch.empty(6, 8, dtype=dtype))
    same(got.float() if dtype == torch.float64 else got, truth.to(got.dtype) if dtype != torch.float64 else truth)


@every
def test_values_do_not_depend_on_strides(fill_: Weight) -> None:
    truth = fill_(torch.empty(6, 8))
    memory = torch.full((9, 20), math.nan)
    strided = memory.t()[3:15:2, 1:9]
    same(fill_(strided), truth)
    assert int(memory.isnan().sum()) == memory.numel() - truth.numel()


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """A matrix, and the shape and offset of a box in it."""
    whole = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    offset = tuple(draw(st.integers(0, n - 1)) for n in whole)
    return whole, tuple(draw(st.integers(0, n - first)) for n, first in zip(whole, offset, strict=True)), offset


OF_A_MATRIX = {name: fill_ for name, fill_ in {**RANDOM, **CONSTANT}.items() if name != "dirac_"}


@pytest.mark.parametrize("fill_", OF_A_MATRIX.values(), ids=OF_A_MATRIX)
@settings(max_examples=30)
@given(box=boxes())
def test_a_shard_is_a_slice_of_the_whole(fill_: Call, box: tuple[tuple[int, int], ...]) -> None:
    whole, shape, (row, column) = box
    part = fill_(torch.empty(shape), key=KEY, shard=LocalShard(whole, (row, column)))
    same(part, fill_(torch.empty(whole), key=KEY)[row : row + shape[0], column : column + shape[1]])


BANKS = {"e o i": ((5, 4, 6), None), "e i o": ((5, 4, 6), None), "(e o) i": ((20, 6), 5), "i (e o)": ((6, 20), 5)}


@pytest.mark.parametrize("layout", BANKS)
@pytest.mark.parametrize("name", sorted(WITH_A_FAN & set(RANDOM)))
def test_a_shard_of_a_bank_is_a_slice_of_it(name: str, layout: str) -> None:
    """One that begins and ends within experts."""
    shape, num_experts = BANKS[layout]
    arguments = dict(key=KEY, layout=layout, num_experts=num_experts)
    whole = getattr(init, name)(torch.empty(shape), **arguments)
    box = tuple(slice(1, size - 1) for size in shape)
    part = torch.empty([size - 2 for size in shape])
    same(getattr(init, name)(part, **arguments, shard=LocalShard(shape, (1,) * len(shape))), whole[box])


# ----------------------------------------------------------------------------------------------------- where a key comes from


@random
def test_a_generator_gives_the_key_and_moves_on(fill_: Call) -> None:
    """By as much as for any other fill, whatever the shard."""
    given_, reference = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    first, second = (fill_(torch.empty(6, 8), generator=given_) for _ in range(2))
    same(fill_(torch.empty(6, 8)), first)
    shard = LocalShard((6, 8), (2, 1))
    same(fill_(torch.empty(3, 4), shard=shard), second[2:5, 1:5])
    assert not torch.equal(first, second)
    for _ in range(2):
        fastinit.normal_(torch.empty(1), generator=reference)
    assert given_.get_state().tolist() == reference.get_state().tolist()
    assert torch.get_rng_state().tolist() == reference.get_state().tolist()


# -------------------------------------------------------------------------------------------- what is left alone, and traced


@every
def test_meta_and_fake_tensors_stay_as_they_are(fill_: Weight) -> None:
    meta = torch.empty(6, 8, device="meta")
    assert fill_(meta) is meta
    with FakeTensorMode():
        fake = torch.empty(6, 8)
        assert fill_(fake) is fake
    assert fill_(fake) is fake


@random
def test_no_generator_moves_on_for_them(fill_: Call) -> None:
    state = torch.get_rng_state()
    fill_(torch.empty(6, 8, device="meta"))
    with FakeTensorMode():
        fake = torch.empty(6, 8)
        fill_(fake)
    fill_(fake)
    assert torch.get_rng_state().tolist() == state.tolist()


@every
def test_compiled_fill_is_the_eager_one(fill_: Weight) -> None:
    torch._dynamo.reset()
    tensor, truth = torch.empty(6, 8), fill_(torch.empty(6, 8))
    filled = torch.compile(lambda tensor: fill_(tensor) + 1, fullgraph=True, backend="aot_eager")
    same(filled(tensor), truth + 1)
    same(tensor, truth)


@every
def test_a_trace_does_not_lose_a_fill(fill_: Weight) -> None:
    def filled(tensor: Tensor) -> Tensor:
        fill_(tensor)
        return tensor

    traced = make_fx(filled, tracing_mode="fake")(torch.empty(6, 8))
    same(traced(torch.empty(6, 8)), fill_(torch.empty(6, 8)))


@every
def test_inference_tensors_and_a_default_device_elsewhere(fill_: Weight) -> None:
    truth = fill_(torch.empty(6, 8))
    with torch.inference_mode():
        tensor = torch.empty(6, 8)
        same(fill_(torch.empty(6, 8)), truth)
    same(fill_(tensor).clone(), truth)
    tensor = torch.empty(6, 8)
    with torch.device("meta"):
        fill_(tensor)
    same(tensor, truth)


def test_operator_passes_torchs_own_check() -> None:
    arguments = (torch.empty(3, 4), 1.0, 1, -2, (3, 4), (0, 0), (0, 3, 1, 3))
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.fastinit.orthogonal_.default, arguments, test_utils=checks)
