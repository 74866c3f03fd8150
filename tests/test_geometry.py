"""Which elements a rank holds: the boxes of all ranks tile the tensor, and are what torch gives each rank."""

from itertools import product
from math import prod
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor._dtensor_spec import DTensorSpec
from torch.distributed.tensor.placement_types import _StridedShard
from worlds import World, place, times_covered, worlds

from fastinit.shard.geometry import LocalShard, is_one_run, overlaps, row_major_strides
from fastinit.shard.placements import Split, layouts, split_order

BANK = (256, 7168, 4096)  # 7.5e9 elements
assert prod(BANK) > 2**32


def as_placement(split: Split | None) -> Replicate | Shard | _StridedShard:
    if split is None:
        return Replicate()
    return Shard(split.dim) if split.factor == 1 else _StridedShard(split.dim, split_factor=split.factor)


@given(worlds())
def test_the_ranks_of_a_replica_hold_each_element_once(world):
    for coordinates in world.replicas().values():
        for reading in (0, -1):
            boxes = [box for coordinate in coordinates for box in world.readings(coordinate)[reading].boxes]
            assert times_covered(world.global_shape, map(place, boxes)) <= {1}


@given(worlds())
def test_the_boxes_of_a_rank_tile_its_local_tensor(world):
    for coordinate in world.coordinates():
        for layout in world.readings(coordinate):
            local = [(tuple(part.start for part in box.local), box.shape) for box in layout.boxes]
            assert times_covered(layout.shape, local) <= {1}
            assert all(tuple(part.stop - part.start for part in box.local) == box.shape for box in layout.boxes)


@settings(max_examples=8)
@given(worlds(ranks=2**14, size=st.integers(1, 2**20), strided=False))
@example(World(BANK, (2**14,), (Split(1),)))
@example(World(BANK, (16, 8, 8, 16), (None, Split(0), Split(1, 16), Split(1))))  # HSDP over EP over TP
@example(World(BANK, (8, 2, 64, 16), (Split(0), Split(2), Split(0, 3), Split(1))))
@example(World((2**31 + 11, 5), (128, 128), (Split(0), Split(0))))
def test_large_worlds_and_banks(world):
    for coordinates in world.replicas().values():
        boxes = [box for coordinate in coordinates for box in world.readings(coordinate)[0].boxes]
        assert times_covered(world.global_shape, map(place, boxes)) == {1}
        assert sum(prod(box.shape) for box in boxes) == prod(world.global_shape)


@given(worlds())
def test_left_to_right_is_what_distribute_tensor_does(world):
    """distribute_tensor hands the tensor from placement to placement; each takes its part with this function."""
    numbered = torch.arange(prod(world.global_shape)).reshape(world.global_shape)
    for coordinate in world.coordinates():
        expected = numbered
        for split, parts, index in zip(world.splits, world.mesh_shape, coordinate, strict=True):
            if split is not None:
                expected = as_placement(split)._split_tensor(expected, parts, with_padding=False)[0][index]
        assert_holds(world.readings(coordinate)[-1], numbered, expected)


@given(st.integers(0, 40), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_the_order_that_strided_splits_stand_for_is_what_fsdp2_does(rows, data, expert, tensor):
    """FSDP2 takes the shard of tensor parallelism, or of expert and tensor parallelism, and cuts it once more."""
    numbered = torch.arange(rows)
    splits = (Split(0, expert * tensor), Split(0), Split(0))
    for d, e, t in product(range(data), range(expert), range(tensor)):
        expected = numbered
        for parts, index in ((expert, e), (tensor, t), (data, d)):
            expected = Shard(0)._split_tensor(expected, parts, with_padding=False)[0][index]
        assert_holds(layouts((rows,), (data, expert, tensor), (d, e, t), splits)[0], numbered, expected)


def assert_holds(layout, numbered, expected):
    """The local tensor of this layout is ``expected``, which holds global indices."""
    local = torch.full(layout.shape, -1)
    for box in layout.boxes:
        begin = box.shard.global_offset
        local[box.local] = numbered[tuple(slice(b, b + n) for b, n in zip(begin, box.shape, strict=True))]
    assert local.tolist() == expected.tolist()


@given(worlds())
def test_the_order_of_strided_splits_is_read_as_torch_reads_it(world):
    mesh = SimpleNamespace(size=lambda dim: world.mesh_shape[dim])
    theirs = DTensorSpec._maybe_convert_StridedShard_to_shard_order(tuple(map(as_placement, world.splits)), mesh)
    ours = split_order(world.mesh_shape, world.splits)
    if ours is not None:
        dims = sorted({world.splits[m].dim for m in ours})
        ours = tuple((dim, tuple(m for m in ours if world.splits[m].dim == dim)) for dim in dims)
    assert ours == theirs


def test_an_explicit_order_is_followed():
    [layout] = layouts((8,), (2, 2), (0, 1), (Split(0), Split(0)), order=(1, 0))
    assert [place(box) for box in layout.boxes] == [((4,), (2,))]


def test_a_tensor_without_dimensions_is_on_every_rank():
    [layout] = layouts((), (4,), (3,), (None,))
    assert [(box.local, place(box)) for box in layout.boxes] == [((), ((), ()))]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_named_splits_tile_the_tensor(size):
    def covered(shape, box, shards):
        return times_covered(shape, [(shard.global_offset, box) for shard in shards])

    ranks = range(size)
    assert covered((8, 6), (8 // size, 6), [LocalShard.column_parallel((8, 6), r, size) for r in ranks]) == {1}
    assert covered((6, 8), (6, 8 // size), [LocalShard.row_parallel((6, 8), r, size) for r in ranks]) == {1}
    bank = (8, 3, 5)
    assert covered(bank, (8 // size, 3, 5), [LocalShard.expert_parallel(bank, r, size) for r in ranks]) == {1}
    vocab = [LocalShard.vocab_parallel(50257, 16, r, size) for r in ranks]
    padded = vocab[0].global_shape[0]
    assert padded % (128 * size) == 0
    assert 0 <= padded - 50257 < 128 * size
    assert covered((padded, 16), (padded // size, 16), vocab) == {1}
    gated = [LocalShard.split((16, 6), {0: (half * size + r, 2 * size)}) for r in ranks for half in (0, 1)]
    assert covered((16, 6), (8 // size, 6), gated) == {1}


def test_splits_of_several_dimensions():
    bank, parts = (8, 6, 4), {0: 4, 1: 3, 2: 2}
    shards = [
        LocalShard.split(bank, dict(zip(parts, zip(index, parts.values(), strict=True), strict=True)))
        for index in product(*map(range, parts.values()))
    ]
    assert times_covered(bank, [(shard.global_offset, (2, 2, 2)) for shard in shards]) == {1}


@pytest.mark.parametrize(
    ("parts", "message"),
    [({2: (0, 2)}, "dimension in range"), ({0: (2, 2)}, "index in range"), ({1: (0, 4)}, "4 divides in dimension 1")],
)
def test_splits_that_are_none(parts, message):
    with pytest.raises(ValueError, match=message):
        LocalShard.split((8, 6), parts)


@pytest.mark.parametrize("parts", [8, {0: 2}, {0: (1,)}, {"rows": (0, 2)}, {0: (0.5, 2)}], ids=str)
def test_parts_that_are_no_whole_numbers_are_named(parts):
    with pytest.raises(TypeError, match=r"^parts: expected \{dimension: \(index, number of parts\)\}"):
        LocalShard.split((8, 6), parts)


def test_shapes_and_vocabularies_that_are_none_are_named():
    with pytest.raises(TypeError, match=r"^global_shape: expected a tuple of whole numbers, got 8$"):
        LocalShard.split(8, {0: (0, 2)})
    with pytest.raises(TypeError, match=r"^vocab, size, multiple: .* got \('a', 4, 128\)$"):
        LocalShard.vocab_parallel("a", 1024, 1, 4)


def test_the_index_of_an_element_past_2_to_the_32():
    shard = LocalShard(BANK, (255, 7167, 4095))
    assert shard.first_index == prod(BANK) - 1


small_shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), max_size=3))
def test_overlaps_misses_none_and_invents_none_of_what_torch_makes(axes):
    shape, strides = tuple(n for n, _ in axes), tuple(stride for _, stride in axes)
    offsets = [sum(i * s for i, s in zip(at, strides, strict=True)) for at in product(*map(range, shape))]
    if len(set(offsets)) < len(offsets):
        assert overlaps(shape, strides)
    dense = row_major_strides(shape)
    assert not overlaps(shape, dense)
    assert not overlaps(shape[::-1], dense[::-1])


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2), st.integers(0, 2)), max_size=4))
def test_is_one_run(axes):
    shape = tuple(n for n, _, _ in axes)
    global_shape = tuple(before + n + after for n, before, after in axes)
    box = tuple(slice(before, before + n) for n, before, _ in axes)
    indices = np.arange(prod(global_shape)).reshape(global_shape)[box].ravel()
    assert is_one_run(shape, global_shape) == bool((np.diff(indices) == 1).all())
