"""Global indices up to 2**64: every backend and every call takes the word that the index says, counted here one by one."""

import interpreted
import pytest
import torch
from laws import assert_same_bits
from strategies import LAWS

import fastinit
from fastinit import Key, LocalShard, foreach, foreach_fill_, reference
from fastinit.backends import llvm
from fastinit.fill import Fill
from fastinit.law.lowering import lower
from fastinit.shard.geometry import row_major_strides

KEY = Key(2**63 + 5, 2**64 - 7)
LAW = LAWS["uniform"]
# shape, global_shape, global_offset: runs, rows, boxes and columns on both sides of 2**63, and at the last index of all
PLACES = [
    ((9,), (2**63 - 1,), (2**63 - 10,)),
    ((9,), (2**63,), (2**63 - 9,)),
    ((9,), (2**64 - 1,), (2**63 - 5,)),
    ((9,), (2**64 - 1,), (2**64 - 10,)),
    ((3, 5), (2**60, 15), (2**60 - 3, 9)),
    ((3, 5), (3, 2**62 + 1), (0, 2**62 - 4)),  # rows that lie 2**62 apart
    ((2, 5), (2, 2**63 - 1), (0, 2**62)),
    ((1, 5), (1, 2**64 - 1), (0, 2**64 - 7)),
    ((2, 3, 5), (2**31, 2**30, 7), (2**31 - 2, 2**30 - 3, 1)),
    ((1, 2, 3), (1, 3, 2**62), (0, 1, 2**62 - 9)),
    ((2, 2, 3, 2), (2, 2**30, 2**31, 3), (0, 2**30 - 2, 2**31 - 3, 1)),
]
places = pytest.mark.parametrize(("shape", "global_shape", "global_offset"), PLACES)


def expected(shape: tuple[int, ...], shard: LocalShard) -> torch.Tensor:
    """Each element's word from its index, in Python's integers."""
    strides = row_major_strides(shard.global_shape)
    positions = torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape)).tolist()
    indices = [sum((o + p) * s for o, p, s in zip(shard.global_offset, at, strides, strict=True)) for at in positions]
    low, high = 0xFFFFFFFF, 32
    counters = [[i // 4 & low, i // 4 >> high, KEY.stream & low, KEY.stream >> high] for i in indices]
    words = reference.philox4x32(torch.tensor(counters), torch.tensor([KEY.seed & low, KEY.seed >> high]))
    return reference.values_of(words[range(len(indices)), [i % 4 for i in indices]], lower(LAW)).reshape(shape)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("backend", [reference, llvm, interpreted], ids=["reference", "llvm", "triton"])
@places
def test_backends(backend, transposed, shape, global_shape, global_offset):
    shard = LocalShard(global_shape, global_offset)
    tensor = torch.empty(shape[::-1]).permute(*reversed(range(len(shape)))) if transposed else torch.empty(shape)
    backend.fill_(tensor, Fill(LAW, KEY, shard))
    assert_same_bits(tensor.contiguous(), expected(shape, shard))


@pytest.mark.parametrize("backend", [reference, llvm, interpreted], ids=["reference", "llvm", "triton"])
def test_lists(backend, monkeypatch):
    monkeypatch.setattr(foreach, "backend_for", lambda device: backend)
    shards = [LocalShard(*place[1:]) for place in PLACES]
    tensors = [torch.empty(place[0]) for place in PLACES]
    foreach_fill_(tensors, LAW, keys=[KEY] * len(tensors), shards=shards)
    for tensor, shard in zip(tensors, shards, strict=True):
        assert_same_bits(tensor, expected(tuple(tensor.shape), shard))


@places
def test_single_fills(shape, global_shape, global_offset):
    shard = LocalShard(global_shape, global_offset)
    tensor = fastinit.uniform_(torch.empty(shape), LAW.a, LAW.b, key=KEY, shard=shard)
    assert_same_bits(tensor, expected(shape, shard))


def test_compiled_single_fills():
    shard = LocalShard((2**64 - 1,), (2**64 - 10,))

    @torch.compile(fullgraph=True, backend="aot_eager")
    def fill(tensor):
        return fastinit.uniform_(tensor, LAW.a, LAW.b, key=KEY, shard=shard)

    assert_same_bits(fill(torch.empty(9)), expected((9,), shard))


def test_sizes_past_the_last_index_are_refused():
    for shape in ((2**64,), (2**32, 2**32), (2**63, 2), (2**64, 0)):
        with pytest.raises(ValueError, match=r"^shard: expected fewer than 2\*\*64 elements"):
            LocalShard(shape, (0,) * len(shape))
