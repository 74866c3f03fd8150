"""foreach_fill_: the bits of one fill a tensor, on every backend, whatever is in the list."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import interpreted
import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_same_bits
from strategies import DTYPES, LAWS, Memory, dtypes, keys, laws, memories, shards
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard
from torch.testing._internal.distributed.fake_pg import FakeStore

import fastinit
from fastinit import Key, LocalShard, foreach, foreach_fill_, listed
from fastinit.backends import llvm, reference, triton_table
from fastinit.fill import Fill
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal, Uniform

BACKENDS = {"triton": interpreted, "llvm": llvm, "reference": reference}
LAW = LAWS["3sigma"]
KEY = Key(2**63 + 5, 2**64 - 7)
backends = pytest.mark.parametrize("backend", BACKENDS)
Item = tuple[Memory, torch.dtype, Distribution, Key, LocalShard]


@contextmanager
def through(backend: str) -> Iterator[None]:
    """On a backend of our choice."""
    with mock.patch.object(foreach, "backend_for", return_value=BACKENDS[backend]):
        yield


def assert_one_by_one(backend: str, items: list[Item]) -> None:
    """From NaN, each tensor in a buffer of its own: the reference's values, and nothing else in the buffers is touched."""
    memory = [memory.tensors(dtype) for memory, dtype, *_ in items]
    tensors = [tensor for _, tensor in memory]
    with through(backend):
        filled = foreach_fill_(
            tensors,
            [law for _, _, law, _, _ in items],
            keys=[key for *_, key, _ in items],
            shards=[shard for *_, shard in items],
        )
    assert [id(tensor) for tensor in filled] == [id(tensor) for tensor in tensors]
    for (buffer, _), (place, dtype, law, key, shard) in zip(memory, items, strict=True):
        expected_buffer, expected = place.tensors(dtype)
        if expected.numel():
            whole = torch.full(place.shape, math.nan, dtype=dtype)
            reference.fill_(whole, Fill(law, key, shard))
            expected.copy_(whole)
        assert_same_bits(buffer, expected_buffer)


def flat(
    size: int, dtype: torch.dtype = torch.float32, law: Distribution = LAW, first: int = 0, before: int = 0
) -> Item:
    """A run of a long tensor."""
    return Memory((size,), (0,), (0,), before), dtype, law, Key(size, first), LocalShard((2**40,), (first,))


@st.composite
def items(draw: st.DrawFn, max_dims: int = 4) -> Item:
    memory = draw(memories(max_dims=max_dims, max_elements=600))
    return memory, draw(dtypes), draw(laws), draw(keys), draw(shards(memory.shape))


@settings(max_examples=8)
@given(listed=st.lists(items(max_dims=2), max_size=4))
def test_kernel_is_one_by_one(listed):
    assert_one_by_one("triton", listed)


@settings(max_examples=150)
@given(listed=st.lists(items(), max_size=6))
def test_llvm_is_one_by_one(listed):
    assert_one_by_one("llvm", listed)


@settings(max_examples=25)
@given(listed=st.lists(items(), max_size=6))
def test_reference_is_one_by_one(listed):
    assert_one_by_one("reference", listed)


@backends
def test_every_law_and_dtype_in_one_list(backend):
    assert_one_by_one(
        backend, [flat(261, dtype, law, first=8 + k) for k, law in enumerate(LAWS.values()) for dtype in DTYPES]
    )


@backends
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_sizes_that_straddle_blocks(backend, dtype):
    sizes = (0, 1, 2, 3, 4, 5, 255, 256, 257, 511, 513, 1023, 1024, 1025, 4095, 4096, 4097, 8193)
    firsts = (0, 1, 8, 4096, 2**32 - 5, 2**34 - 5)
    law = LAWS["uniform"]  # the cheapest, as the place is what is tested
    assert_one_by_one(
        backend,
        [flat(size, dtype, law, firsts[k % len(firsts)], before=k % 5) for k, size in enumerate(sizes * 2)],
    )


@backends
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_places_of_all_kinds(backend, dtype):
    places = [
        ((4, 300), (0, 1), (0, 0), (2**20, 2**14), (2**19 + 3, 2**13 + 4)),  # rows of a matrix of 2**34 elements
        ((4, 301), (0, 1), (0, 3), (9, 777), (1, 3)),
        ((3, 5, 260), (0, 1, 2), (0, 0, 0), (4, 8, 520), (1, 2, 4)),  # three loops, aligned columns
        ((3, 5, 261), (0, 1, 2), (0, 0, 1), (4, 8, 521), (1, 2, 3)),
        ((70, 2, 3), (0, 1, 2), (0, 0, 0), (80, 8, 9), (1, 2, 3)),  # more outer turns than rows of a table
        ((3, 260, 5), (0, 2, 1), (0, 0, 0), (3, 260, 8), (0, 0, 2)),  # transposed experts
        ((2, 3, 4, 5, 6), (4, 2, 0, 3, 1), (0,) * 5, (5, 4, 5, 6, 7), (3, 1, 1, 1, 1)),
        ((2, 3, 2, 3, 4), (0, 1, 2, 3, 4), (0,) * 5, (5, 4, 5, 6, 7), (3, 1, 1, 1, 1)),
        ((3, 0, 4), (0, 1, 2), (0, 0, 0), (3, 4, 4), (0, 1, 0)),  # nothing
        ((), (), (), (), ()),
    ]
    assert_one_by_one(
        backend,
        [
            (Memory(shape, order, gaps, 8), dtype, LAW, Key(k), LocalShard(whole, offset))
            for k, (shape, order, gaps, whole, offset) in enumerate(places)
        ],
    )


@pytest.mark.parametrize(
    ("units", "blocks", "programs", "rows"),
    [((32, 16, 8), 1, 1, 1), ((64, 64, 64), 3, 2, 64), ((256, 64, 16), 8, 1, 2)],
)
def test_any_size_of_block(monkeypatch, units, blocks, programs, rows):
    for name, value in dict(UNITS=units, BLOCKS=blocks, PROGRAMS=programs, ROWS_AT_MOST=rows).items():
        monkeypatch.setattr(triton_table, name, value)
    triton_table._pieces.cache_clear()
    bank = (Memory((2, 5, 70), (0, 1, 2), (0, 0, 2), 0), torch.float32, LAW, KEY, LocalShard((9, 40, 80), (1, 2, 4)))
    assert_one_by_one("triton", [flat(1999, first=5, before=4), bank, flat(64), flat(1501, torch.bfloat16)])
    triton_table._pieces.cache_clear()


def test_long_tensors_get_a_launch_of_their_own(monkeypatch):
    monkeypatch.setattr(triton_table, "BLOCKS_AT_MOST", 2)
    triton_table._pieces.cache_clear()
    listed = [flat(64), flat(3 * 4096, first=3), flat(100)]
    with mock.patch.object(interpreted.backend, "fill_", wraps=interpreted.backend.fill_) as alone:
        assert_one_by_one("triton", listed)
    assert alone.call_count == 1
    triton_table._pieces.cache_clear()


def test_under_graph_capture_each_tensor_gets_a_launch_of_its_own(monkeypatch):
    monkeypatch.setattr(interpreted.backend, "_capturing", lambda tensor: True)
    with (
        mock.patch.object(interpreted.backend, "fill_", wraps=interpreted.backend.fill_) as alone,
        mock.patch.object(interpreted.backend, "_on_device", side_effect=AssertionError("a table was copied")),
    ):
        assert_one_by_one("triton", [flat(64), flat(65)])
    assert alone.call_count == 2


def launches(tensors: list[torch.Tensor], laws: list[Distribution]) -> list[triton_table.TableLaunch]:
    """What the Triton backend would launch."""
    keys, shards = [KEY] * len(tensors), [None] * len(tensors)
    ((_, plain, fills),) = listed.described(tensors, laws, keys, shards)
    found, alone = triton_table.launches_of(plain, fills)
    assert len(alone) == 0
    return found


def test_one_launch_for_all_scales_of_a_regime():
    stds = np.geomspace(1e-3, 10, 40).tolist()
    many = [TruncatedNormal(0.0, std, -3 * std, 3 * std) for std in stds]
    assert len(launches([torch.empty(5000 + k) for k in range(40)], many)) == 1
    mixed = [torch.empty(5000, dtype=dtype) for dtype in DTYPES for _ in range(4)]
    assert len(launches(mixed, [LAW, Normal(), Uniform(), many[0]] * 4)) == 4 * 3


def test_short_rows_have_small_blocks():
    found = launches([torch.empty(64), torch.empty(2**16), torch.empty(2000)], [LAW] * 3)
    assert sorted(launch.units for launch in found) == sorted(triton_table.UNITS)
    assert {launch.programs for launch in found} == {1, 2, 16}


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_any_number_of_threads(threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    some = list(LAWS.values())
    listed = [flat(1 + 977 * k % 3001, DTYPES[k % 3], some[k % 5], first=k) for k in range(200)]
    bank = Memory((3, 70, 500), (0, 2, 1), (1, 0, 2), 1)
    listed[7:7] = [flat(2**18 + 3), (bank, torch.float32, LAW, KEY, LocalShard((9, 2000, 504), (4, 3, 4)))]
    assert_one_by_one("llvm", listed)


# ------------------------------------------------------------------------------------------------------ what is left


def test_one_law_for_all_and_no_shards():
    tensors = [torch.empty(3, 5), torch.empty(7, dtype=torch.bfloat16)]
    foreach_fill_(iter(tensors), Normal(0.0, 2.0), keys=(Key(1), Key(2)))
    for tensor, key in zip(tensors, (Key(1), Key(2)), strict=True):
        assert_same_bits(tensor, fastinit.normal_(torch.empty_like(tensor), std=2.0, key=key))


@backends
def test_nothing_to_fill(backend):
    with through(backend):
        assert foreach_fill_([], LAW, keys=[]) == []
        meta, empty = torch.empty(4, device="meta"), torch.empty(0, 3)
        assert foreach_fill_([meta, empty], LAW, keys=[KEY, KEY]) == [meta, empty]


def test_meta_tensors_among_others():
    tensors = [torch.empty(4, device="meta"), torch.empty(5), torch.empty(4, device="meta"), torch.empty(0)]
    foreach_fill_(tensors, LAW, keys=[Key(k) for k in range(4)])
    assert_same_bits(tensors[1], foreach.fill_(torch.empty(5), LAW, key=Key(1)))


def test_fake_tensors_stay_as_they_are():
    with FakeTensorMode():
        fakes = [torch.empty(4, 5), torch.nn.Parameter(torch.empty(3))]
        assert all(map(lambda a, b: a is b, foreach_fill_(fakes, LAW, keys=[KEY, KEY]), fakes))


@backends
def test_autograd_sees_the_change_and_records_nothing(backend):
    parameters = [torch.nn.Parameter(torch.ones(4)) for _ in range(3)]
    versions = [parameter._version for parameter in parameters]
    loss = sum((parameter * parameter).sum() for parameter in parameters)
    with through(backend):
        foreach_fill_(parameters, LAW, keys=[KEY] * 3)
    assert all(p.requires_grad and p.grad_fn is None for p in parameters)
    assert all(p._version > version for p, version in zip(parameters, versions, strict=True))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.* is deprecated")  # inductor's own, at its import
def test_under_torch_compile():
    @torch.compile(fullgraph=True, backend="aot_eager")
    def filled(one, other):
        foreach_fill_([one, other], LAW, keys=[Key(1), Key(2)])
        return one + 1

    one, other = torch.empty(5), torch.empty(6, dtype=torch.bfloat16)
    result = filled(one, other)
    assert_same_bits(one, foreach.fill_(torch.empty(5), LAW, key=Key(1)))
    assert_same_bits(other, foreach.fill_(torch.empty(6, dtype=torch.bfloat16), LAW, key=Key(2)))
    assert_same_bits(result, one + 1)


# ------------------------------------------------------------------------------------------------------------ errors

GOOD = dict(tensors=3, laws=LAW, keys=None, shards=None)
THREE = torch.ones(3)
BAD = {
    "not a tensor": (dict(tensors={1: [1.0]}), TypeError, r"tensors\[1\]: expected a torch.Tensor, got list"),
    "integers": (dict(tensors={2: torch.ones(3, dtype=torch.int32)}), TypeError, r"tensors\[2\]: tensor: expected dtype"),
    "complex": (dict(tensors={1: torch.ones(3, dtype=torch.complex64)}), TypeError, r"tensors\[1\]: .* got torch.complex64"),
    "sparse": (dict(tensors={1: THREE.to_sparse()}), TypeError, r"tensors\[1\]: tensor: expected a dense"),
    "expanded": (dict(tensors={2: torch.ones(1).expand(4)}), ValueError, r"tensors\[2\]: tensor: expected one memory"),
    "law": (dict(laws=[LAW, "normal", LAW]), TypeError, r"laws\[1\]: expected one of TruncatedNormal, .* got 'normal'"),
    "no law": (dict(laws=[LAW, LAW]), ValueError, "laws: expected one for each of 3 tensors, got 2"),
    "no value": (
        dict(laws=[LAW, LAW, TruncatedNormal(0.0, 1.0, 0.06000001, 0.060000011)]), ValueError,
        r"tensors\[2\]: a, b: expected an interval that holds a value of dtype float32",
    ),
    "huge std": (dict(laws=[LAW, Normal(0.0, 1e39), LAW]), ValueError, r"tensors\[1\]: std: expected a number within fp32"),
    "key": (dict(keys=[KEY, KEY, 5]), TypeError, r"keys\[2\]: expected a fastinit.Key, got 5"),
    "no key": (dict(keys=[KEY]), ValueError, "keys: expected one for each of 3 tensors, got 1"),
    "shard": (dict(shards=[None, (4,), None]), TypeError, r"shards\[1\]: expected a fastinit.LocalShard or None, got \(4,\)"),
    "no shard": (dict(shards=[None]), ValueError, "shards: expected one for each of 3 tensors, got 1"),
    "shard too small": (
        dict(shards=[LocalShard((4,), (1,)), LocalShard((4,), (1,)), LocalShard((4,), (2,))]), ValueError,
        r"tensors\[2\]: shard: expected a tensor that fits in global_shape \(4,\) at global_offset \(2,\), got .* \(3,\)",
    ),
    "other dimensions": (dict(shards=[None, None, LocalShard((4, 4), (0, 0))]), ValueError, r"tensors\[2\]: shard: expected"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_and_nothing_is_written(case):
    changed, error, message = BAD[case]
    arguments = GOOD | dict(keys=[KEY] * 3) | changed
    replaced = arguments.pop("tensors")
    tensors = [torch.full((3,), 7.0) for _ in range(3)]
    if isinstance(replaced, dict):
        for position, tensor in replaced.items():
            tensors[position] = tensor
    before = str(tensors)
    with pytest.raises(error, match=message):
        foreach_fill_(tensors, arguments.pop("laws"), **arguments)
    assert str(tensors) == before


# ----------------------------------------------------------------------------------------------------------- DTensor


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    """Rank 1 of 4, as far as geometry goes: no other rank is there, and collectives do nothing."""
    dist.init_process_group("fake", rank=1, world_size=4, store=FakeStore())
    yield init_device_mesh("cpu", (4,))
    dist.destroy_process_group()


@backends
def test_dtensors_among_plain_tensors(mesh, backend):
    placements = [Shard(0), Shard(1), Replicate(), _StridedShard(0, split_factor=2)]
    shapes = [(4, 6), (4, 6), (8, 3)]
    made = [DTensor.from_local(torch.full(shape, math.nan), mesh, [p]) for p in placements for shape in shapes]
    tensors = [*made[:5], torch.full((4, 6), math.nan), *made[5:]]
    keys = [Key(k) for k in range(len(tensors))]
    versions = [tensor._version for tensor in made]
    with through(backend):
        foreach_fill_(tensors, LAW, keys=keys)
    assert all(tensor._version > version for tensor, version in zip(made, versions, strict=True))
    for tensor, key in zip(tensors, keys, strict=True):
        if isinstance(tensor, DTensor):
            local = torch.full_like(tensor.to_local(), math.nan)
            alone = DTensor.from_local(local, mesh, tensor.placements)
            assert_same_bits(tensor.to_local(), foreach.fill_(alone, LAW, key=key).to_local())
        else:
            assert_same_bits(tensor, foreach.fill_(torch.empty(4, 6), LAW, key=key))


def test_bad_dtensors_are_named(mesh):
    good = DTensor.from_local(torch.full((4, 6), 7.0), mesh, [Shard(0)])
    partial = DTensor.from_local(torch.zeros(4, 6), mesh, [Partial()])
    with pytest.raises(ValueError, match=r"tensors\[1\]: tensor: expected a DTensor whose placements"):
        foreach_fill_([good, partial], LAW, keys=[KEY, KEY])
    with pytest.raises(ValueError, match=r"tensors\[0\]: shard: expected none with a DTensor"):
        foreach_fill_([good], LAW, keys=[KEY], shards=[LocalShard.whole((16, 6))])
    with pytest.raises(ValueError, match=r"tensors\[1\]: tensor: expected a DTensor with memory of its own"):
        foreach_fill_([good, good[1]], LAW, keys=[KEY, KEY])
    like_a_row = DTensor.from_local(torch.full((6,), 7.0), mesh, good[1].placements)
    assert like_a_row.shape == good[1].shape
    with pytest.raises(ValueError, match=r"tensors\[1\]: tensor: expected a DTensor with memory of its own"):
        foreach_fill_([like_a_row, good[1]], LAW, keys=[KEY, KEY])
    assert (like_a_row.to_local() == 7).all()
    assert (good.to_local() == 7).all()
