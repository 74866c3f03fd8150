"""The llvm backend = the reference, bit for bit, from any thread and process."""

import math
import os
import subprocess
import sys
import threading

import pytest
import torch
from forked import Forked
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_fills_like_reference, assert_same_bits
from strategies import DTYPES, LAWS, Memory, dtypes, keys, laws, memories, shards

from fastinit.backends import llvm, llvm_compile, reference
from fastinit.fill import Fill
from fastinit.law.distributions import Normal, TruncatedNormal
from fastinit.shard.bits import bits_of
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key

KEY = Key(2**63 + 5, 2**64 - 7)


@settings(max_examples=300)
@given(data=st.data(), memory=memories(max_size=9, max_elements=5000), law=laws, dtype=dtypes, key=keys)
def test_llvm_is_the_reference(data, memory, law, dtype, key):
    shard = data.draw(shards(memory.shape))
    assert_fills_like_reference(llvm.fill_, memory, dtype, Fill(law, key, shard))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("law", LAWS)
def test_every_law_and_dtype_on_many_words(law, dtype):
    memory = Memory((2**17 + 5,), (0,), (0,), 3)
    assert_fills_like_reference(llvm.fill_, memory, dtype, Fill(LAWS[law], KEY, LocalShard((2**40,), (2**34 - 77,))))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 2044, 2045, 2046, 2047, 2048, 2049, 4097, 2**16 + 1])
@pytest.mark.parametrize("first", [0, 1, 2, 3, 2**32 - 5, 2**34 - 5])
def test_runs_that_straddle_tiles(size, first):
    memory = Memory((size,), (0,), (0,), 0)
    fill = Fill(LAWS["uniform"], KEY, LocalShard((2**35,), (first,)))
    assert_fills_like_reference(llvm.fill_, memory, torch.bfloat16, fill)


@pytest.mark.parametrize("shape", [(3, 70, 50), (2, 1000, 33), (2, 17, 4100)])
@pytest.mark.parametrize("permutation", [(0, 2, 1), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
@pytest.mark.parametrize("last", [4, 5])
def test_transposed_banks(shape, permutation, last):
    memory = Memory(shape, permutation, (1, 0, 2), 1)
    shard = LocalShard((9, 2000, 5000 + last), (4, 3, last))
    assert_fills_like_reference(llvm.fill_, memory, torch.float32, Fill(LAWS["3sigma"], KEY, shard))


@pytest.mark.parametrize(
    "value", [65503.9, 65519.0, 65520.0, 1e6, 6e-8, 2.9e-8, 3.0e-8, 6.1e-5, 6.2e-5, 1.5e-5, -1e-7, -7e4]
)
def test_fp16_rounds_as_torch_does(value):
    """Subnormals, the step to infinity, and ties: through a constant law, whose value is rounded in the loop."""
    tensor = torch.empty(5, dtype=torch.float16)
    law = type(LAWS["normal"])(value, 0.0)
    llvm.fill_(tensor, Fill(law, KEY, LocalShard.whole((5,))))
    assert_same_bits(tensor, torch.full((5,), value).half())


SHARED = {
    "run": Memory((2**18 + 3,), (0,), (0,), 1),
    "boxes": Memory((3, 70, 500), (0, 1, 2), (2, 1, 3), 1),
    "transposed": Memory((3, 70, 500), (0, 2, 1), (2, 0, 0), 1),
    "short rows": Memory((3, 700, 9), (0, 1, 2), (2, 0, 0), 1),
    "many boxes": Memory((4, 3, 5, 3, 200), (2, 0, 3, 1, 4), (1, 1, 1, 1, 1), 1),
}


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("layout", SHARED)
def test_any_number_of_threads(layout, threads, monkeypatch):
    memory = SHARED[layout]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(llvm, "ELEMENTS_A_THREAD", 2**8)
    monkeypatch.setattr(llvm, "PIECE", 2**12)
    shard = LocalShard(tuple(size + 7 for size in memory.shape), tuple(5 for _ in memory.shape))
    assert_fills_like_reference(llvm.fill_, memory, torch.float32, Fill(LAWS["3sigma"], KEY, shard))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_flushes_subnormals_leaves_the_laws_of_weights_alone(dtype, monkeypatch):
    """It is set for this thread alone, and would give a mixture."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for std in (0.02, 1e-6):
        fill = Fill(TruncatedNormal(0.0, std, -3 * std, 3 * std), KEY, LocalShard.whole((2**17,)))
        expected, tensor = torch.empty(2**17, dtype=dtype), torch.empty(2**17, dtype=dtype)
        llvm.fill_(expected, fill)
        torch.set_flush_denormal(True)
        try:
            llvm.fill_(tensor, fill)
        finally:
            torch.set_flush_denormal(False)
        assert_same_bits(bits_of(tensor), bits_of(expected))


def test_from_several_python_threads_at_once(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    fill = Fill(LAWS["normal"], KEY, LocalShard.whole((2**18,)))
    tensors = [torch.empty(2**18) for _ in range(8)]
    workers = [threading.Thread(target=llvm.fill_, args=(tensor, fill)) for tensor in tensors]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    reference.fill_(expected := torch.empty(2**18), fill)
    for tensor in tensors:
        assert_same_bits(tensor, expected)


IN_A_CHILD = """
import os, sys, torch
torch.set_num_threads(3)
from fastinit.backends import llvm
from fastinit.fill import Fill
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key
from fastinit.law.distributions import Normal
fill = Fill(Normal(), Key(1, 2), LocalShard.whole((2**18,)))
llvm.fill_(before := torch.empty(2**18), fill)
child = os.fork()
if child == 0:
    llvm.fill_(after := torch.empty(2**18), fill)
    os._exit(0 if torch.equal(before, after) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_after_a_fork():
    result = Forked("-c", IN_A_CHILD).wait()
    assert result.returncode == 0, result.stderr


ON_DISK = """
import os, sys, torch, fastinit
written = []
sys.addaudithook(lambda event, args: written.append(args) if event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR) else None)
fastinit.normal_(torch.empty(9), key=fastinit.Key(1))
sys.exit(f"{written}" if written else 0)
"""


def test_nothing_is_written_to_a_disk():
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", ON_DISK], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


AT_ONCE = """
import os, signal, sys, threading, torch
import fastinit
from fastinit.fill import Fill
from fastinit.law.distributions import Normal
begin = threading.Barrier(6)
filled = [torch.empty(1000, dtype=dtype) for dtype in (torch.float32, torch.float32, torch.float64, torch.bfloat16)]

def fill(tensor):
    begin.wait()
    fastinit.normal_(tensor, key=fastinit.Key(3))

def fork():
    begin.wait()
    for _ in range(10):
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            again = fastinit.normal_(torch.empty(1000, dtype=torch.float16), key=fastinit.Key(3))
            os._exit(not torch.equal(again, expected.half()))
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

fill_all = Fill(Normal(), fastinit.Key(3), fastinit.LocalShard.whole((1000,)))
fastinit.reference.fill_(expected := torch.empty(1000), fill_all)
codes = []
workers = [threading.Thread(target=fill, args=(tensor,)) for tensor in filled] + [threading.Thread(target=fork)]
for worker in workers:
    worker.start()
begin.wait()
for worker in workers:
    worker.join()
sys.exit(any(codes) or not all(torch.equal(tensor, expected.to(tensor.dtype)) for tensor in filled))
"""


def test_a_process_begins_in_several_threads_at_once_one_of_which_forks():
    """All of them want a function that is not compiled yet, and LLVM may be at work in one while another forks."""
    result = Forked("-c", AT_ONCE).wait()
    assert result.returncode == 0, result.stderr


def test_a_function_serves_all_laws_of_a_regime_and_dtype():
    tensor = torch.empty(100)
    for std in (1.0, 0.5):
        llvm.fill_(tensor, Fill(Normal(0.0, std), KEY, LocalShard.whole((100,))))
        compiled = len(llvm_compile._compiled)
    llvm.fill_(tensor, Fill(Normal(3.0, 0.25), KEY, LocalShard((200,), (7,))))
    assert len(llvm_compile._compiled) == compiled


@pytest.mark.parametrize("columns", [1, 3, 8, 31, 95, 96, 97, 127, 128, 129])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 33])
def test_short_rows_of_boxes(rows, columns):
    """On both sides of where lanes become rows, and of a block; rows begin anywhere within a group."""
    memory = Memory((rows, columns), (0, 1), (0, 3), 2)
    shard = LocalShard((99, columns + 5), (31, 3))
    assert_fills_like_reference(llvm.fill_, memory, torch.float32, Fill(LAWS["3sigma"], KEY, shard))


def test_no_memory_beside_the_tensor():
    """The scratch of a thread is one tile."""
    import tracemalloc

    tensor = torch.empty(2**22)
    fill = Fill(LAWS["3sigma"], KEY, LocalShard.whole((2**22,)))
    llvm.fill_(tensor, fill)
    tracemalloc.start()
    llvm.fill_(tensor, fill)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    assert not math.isnan(tensor.sum().item())
