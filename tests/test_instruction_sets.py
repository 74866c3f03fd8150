"""The llvm backend = the reference with whatever instructions: compiled for all the processors that this one can stand in for."""

import platform

import pytest
import torch
from laws import assert_fills_like_reference
from strategies import DTYPES, LAWS, Memory

from fastinit.backends import llvm
from fastinit.backends.llvm_compile import Target, host
from fastinit.fill import Fill
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key

KEY = Key(2**63 + 5, 2**64 - 7)
X86 = {
    "128 bits without fma": Target("x86-64"),
    "256 bits": Target("x86-64", "+avx2,+fma"),
    "512 bits": Target("x86-64", "+avx2,+fma,+avx512f,+avx512dq,+avx512bw,+avx512vl"),
}
FEATURES = set(host().features.split(",")) if platform.machine() == "x86_64" else set()
TARGETS = {"this one": host()}
TARGETS |= {name: target for name, target in X86.items() if {*filter(None, target.features.split(","))} <= FEATURES}
on_targets = pytest.mark.parametrize("target", TARGETS)


@pytest.fixture
def compiled_for(target, monkeypatch):
    """The backend compiles for this processor."""
    llvm._boxes.cache_clear()  # what lanes are depends on how many there are
    monkeypatch.setattr(llvm, "host", lambda: TARGETS[target])
    yield
    llvm._boxes.cache_clear()


@on_targets
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.usefixtures("compiled_for")
def test_every_law(dtype):
    memory, shard = Memory((4501,), (0,), (0,), 3), LocalShard((2**40,), (2**34 - 77,))
    for law in LAWS.values():
        assert_fills_like_reference(llvm.fill_, memory, dtype, Fill(law, KEY, shard))


LAYOUTS = {
    "rows": Memory((3, 5, 300), (0, 1, 2), (0, 0, 3), 1),
    "strided columns": Memory((3, 5, 300), (2, 0, 1), (0, 3, 0), 1),
    "transposed": Memory((2, 70, 300), (0, 2, 1), (0, 0, 0), 0),
    "transposed with gaps": Memory((300, 70, 2), (1, 0, 2), (0, 3, 1), 5),
    "few columns": Memory((3, 71, 7), (0, 1, 2), (0, 0, 0), 0),
    "few rows of few columns": Memory((3, 3, 7), (0, 1, 2), (0, 0, 0), 0),
}


@on_targets
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("last", [0, 1, 2, 3])
@pytest.mark.usefixtures("compiled_for")
def test_every_layout(layout, last):
    memory = LAYOUTS[layout]
    shape = memory.shape
    # Rows that begin all alike within their groups, or each in its own way.
    shard = LocalShard((shape[0] + 2**33, shape[1] + 2, shape[2] + 9 - last), (2**33 - 1, 1, last))
    for law, dtype in (("3sigma", torch.float32), ("uniform", torch.bfloat16), ("half-normal", torch.float64)):
        assert_fills_like_reference(llvm.fill_, memory, dtype, Fill(LAWS[law], KEY, shard))
