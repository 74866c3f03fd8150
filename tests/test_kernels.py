"""The Triton kernels under the interpreter = the reference, bit for bit, whatever the place, layout, dtype and law."""

import itertools
import math
import random

import interpreted
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from laws import assert_fills_like_reference, assert_same_bits
from strategies import DTYPES, LAWS, Memory, dtypes, keys, laws, memories, shards

from fastinit import reference
from fastinit.fill import Fill
from fastinit.law.lowered import Regime
from fastinit.law.lowering import lower
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key

KEY = Key(2**63 + 5, 2**64 - 7)


def test_laws_cover_every_regime():
    assert {lower(law).regime for law in LAWS.values()} == set(Regime)


@settings(max_examples=40)
@given(data=st.data(), memory=memories(), law=laws, dtype=dtypes, key=keys)
def test_kernel_is_the_reference(data, memory, law, dtype, key):
    shard = data.draw(shards(memory.shape))
    assert_fills_like_reference(interpreted.fill_, memory, dtype, Fill(law, key, shard))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("law", LAWS)
def test_every_law_and_dtype(law, dtype):
    memory = Memory((517,), (0,), (0,), 4)
    assert_fills_like_reference(interpreted.fill_, memory, dtype, Fill(LAWS[law], KEY, LocalShard((2000,), (8,))))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 127, 128, 129, 255, 256, 257, 4095, 4096, 4097, 8191])
@pytest.mark.parametrize("first", [0, 1, 4, 8, 4096, 2**34 - 5])
def test_runs_that_straddle_blocks(size, first):
    memory = Memory((size,), (0,), (0,), 0)
    law = LAWS["uniform"]  # the cheapest, as the place is what is tested
    assert_fills_like_reference(
        interpreted.fill_, memory, torch.float32, Fill(law, KEY, LocalShard((2**35,), (first,)))
    )


# Options of a launch.
KIND = ("COLUMNS_DENSE", "ROWS_DENSE", "VECTOR", "WHOLE")
BOXES = [
    ((3, 5, 260), (0, 1, 2), (4, 8, 520), (1, 2, 4)),  # aligned columns of an expert bank
    ((3, 5, 261), (0, 1, 2), (4, 8, 521), (1, 2, 3)),  # and others
    ((3, 260, 5), (0, 2, 1), (3, 260, 8), (0, 0, 2)),  # transposed experts
    ((2, 3, 4, 5, 6), (4, 2, 0, 3, 1), (5, 4, 5, 6, 7), (3, 1, 1, 1, 1)),  # more loops than a launch has
    ((4, 300), (0, 1), (2**20, 2**14), (2**19 + 3, 2**13 + 4)),  # rows of a matrix of 2**34 elements
    ((2, 2, 4), (0, 1, 2), (2**11, 2**11, 2**12), (2**10, 2**10 - 1, 8)),  # a bank of 2**34
    ((), (), (), ()),
    ((2, 6, 64), (0, 1, 2), (2, 6, 128), (0, 0, 64)),  # columns of whole tiles
    ((2, 3, 44), (0, 1, 2), (2, 4, 88), (0, 1, 44)),  # of whole vectors of four, not of eight
    ((2, 3, 72), (0, 1, 2), (2, 4, 144), (0, 1, 72)),  # of whole vectors of eight, not of whole tiles
    ((2, 40, 64), (0, 2, 1), (2, 40, 64), (0, 0, 0)),  # transposed experts, in whole tiles
    ((2, 300), (0, 1), (2, 2**33 + 400), (0, 2**33 - 552)),  # groups 2**32 - 38 to 2**32 + 37, in one tile
    ((8, 300), (1, 0), (8, 2**32 + 400), (0, 2**32 - 1352)),  # the same in the fourth row, transposed
]


@pytest.mark.parametrize(("shape", "permutation", "global_shape", "global_offset"), BOXES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_boxes(shape, permutation, global_shape, global_offset, dtype):
    memory = Memory(shape, permutation, (0,) * len(shape), 8)
    shard = LocalShard(global_shape, global_offset)
    assert_fills_like_reference(interpreted.fill_, memory, dtype, Fill(LAWS["3sigma"], KEY, shard))


def test_boxes_are_of_every_kind():
    """Vectors along the columns and along the rows, each in whole tiles and in others, and single elements."""
    found = set()
    for shape, permutation, global_shape, global_offset in BOXES:
        _, tensor = Memory(shape, permutation, (0,) * len(shape), 8).tensors(torch.bfloat16)
        plan = interpreted.backend.plan(
            shape, tensor.stride(), tensor.dtype, LocalShard(global_shape, global_offset), LAWS["3sigma"]
        )
        found |= {tuple(launch.options[k] for k in KIND) for launch in plan if "WHOLE" in launch.options}
    along_columns = {
        (True, False, 8, True),
        (True, False, 4, True),
        (True, False, 8, False),
        (True, False, 4, False),
        (True, False, 1, False),
    }
    along_rows = {(False, True, 8, True), (False, True, 8, False), (False, True, 1, False)}
    assert found == along_columns | along_rows | {(False, False, 1, False)}


@pytest.mark.parametrize(
    ("units", "blocks", "programs", "tile", "width"), [(32, 1, 1, 16, 1), (64, 3, 2, 64, 16), (256, 8, 1, 8, 8)]
)
def test_any_block_size(monkeypatch, units, blocks, programs, tile, width):
    backend = interpreted.backend
    for name, value in dict(UNITS=units, BLOCKS=blocks, PROGRAMS=programs, TILE=tile, WIDTH=width).items():
        monkeypatch.setattr(backend, name, value)
    backend.plan.cache_clear()
    fill = Fill(LAWS["uniform"], KEY, LocalShard((2**12,), (5,)))
    assert_fills_like_reference(interpreted.fill_, Memory((2999,), (0,), (0,), 4), torch.float32, fill)
    fill = Fill(LAWS["uniform"], KEY, LocalShard((9, 40, 80), (1, 2, 4)))
    assert_fills_like_reference(interpreted.fill_, Memory((3, 30, 70), (0, 1, 2), (0, 0, 0), 0), torch.float32, fill)
    backend.plan.cache_clear()


@settings(max_examples=15)
@given(data=st.data(), memory=memories(max_dims=3), dtype=dtypes)
@example(data=None, memory=Memory((1,), (0,), (0,), 0), dtype=torch.float32)
def test_chunks_in_any_order_are_the_whole(data, memory, dtype):
    """Also: a shard is a slice of the whole."""
    law, shape = LAWS["4sigma"], memory.shape
    buffer, tensor = memory.tensors(dtype)
    whole = torch.full(shape, math.nan, dtype=dtype)
    interpreted.fill_(whole, Fill(law, KEY, LocalShard.whole(shape)))
    dim = data.draw(st.integers(0, len(shape) - 1)) if data and shape else 0
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, shape[dim] - 1)), max_size=3))) if data and shape else []
    ends = [0, *(cut for cut in cuts if cut < shape[dim]), shape[dim]] if shape else []
    pieces = list(itertools.pairwise(ends))
    random.Random(len(cuts)).shuffle(pieces)
    for start, end in pieces:
        offset = tuple(start if d == dim else 0 for d in range(len(shape)))
        interpreted.fill_(tensor.narrow(dim, start, end - start), Fill(law, KEY, LocalShard(shape, offset)))
    if not shape:
        interpreted.fill_(tensor, Fill(law, KEY, LocalShard.whole(shape)))
    assert_same_bits(tensor.clone(), whole)
    guard = buffer.clone()
    guard.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).fill_(math.nan)
    assert bool(guard.isnan().all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("law", LAWS)
def test_other_dtypes_are_the_rounding_of_the_clamped_fp32(law, dtype):
    fill = Fill(LAWS[law], KEY, LocalShard.whole((1000,)))
    single, other = torch.empty(1000), torch.empty(1000, dtype=dtype)
    reference.fill_(single, fill)
    interpreted.fill_(other, fill)
    lowest, highest = fill.lowered.bounds(str(dtype).removeprefix("torch."))
    assert_same_bits(other, single.clamp(lowest, highest).to(dtype))
