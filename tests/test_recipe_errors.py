"""Errors of an initialisation as it runs: what torch has no rule for is noted, and whatever else fails fails."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from laws import assert_same_bits
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

import fastinit
from fastinit.recipe import keyed as entry
from fastinit.recipe.live import Live


class Failing(TorchDispatchMode):
    """Raises when an operator runs on the memory of a rank; the stand-in of a DTensor has none."""

    def __init__(self, function: Any, error: Exception) -> None:
        super().__init__()
        self._function, self._error = function, error

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is self._function and not args[0].is_meta:
            raise self._error
        return function(*args, **kwargs or {})


@pytest.fixture
def sharded() -> Iterator[nn.Module]:
    """Rows 2 and 3 of 8, as a rank of four has them."""
    dist.init_process_group("fake", rank=1, world_size=4, store=FakeStore())
    try:
        model = nn.Module()
        local = torch.full((2, 6), torch.nan)
        mesh = init_device_mesh("cpu", (4,))
        model.w = nn.Parameter(DTensor.from_local(local, mesh, [Shard(0)], run_check=False))
        yield model
    finally:
        dist.destroy_process_group()


FAILURES = {
    "memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "memory of the CPU": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
    ),
    "the network": dist.DistNetworkError("connection reset by peer"),
    "a kernel": NotImplementedError("\"mul\" not implemented for 'Float'"),
    "anything": RuntimeError("boo"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_fails_on_a_shard_fails(sharded: nn.Module, failure: str) -> None:
    error = FAILURES[failure]

    def initialised() -> None:
        with Failing(torch.ops.aten.mul_.Tensor, error), fastinit.keyed(sharded, seed=0), torch.no_grad():
            sharded.w.normal_()
            sharded.w.mul_(2.0)

    with pytest.raises(type(error)) as raised:
        initialised()
    assert raised.value is error


WITHOUT_RULE: dict[str, Callable[[Tensor], object]] = {
    "along the shards": lambda w: [row.fill_(2.0) for row in w.unbind(0)],
    "a plain tensor": lambda w: w.copy_(torch.full((8, 6), 2.0)),
    "plain and sharded": lambda w: w.zero_().add_(torch.full((8, 6), 2.0)),
}


@pytest.mark.parametrize("name", WITHOUT_RULE)
def test_what_torch_has_no_rule_for_is_noted(sharded: nn.Module, name: str) -> None:
    with fastinit.keyed(sharded, seed=0) as report, torch.no_grad():
        sharded.w.normal_()
        WITHOUT_RULE[name](sharded.w)
    assert report["w"].role in ("constant", "derived")
    assert_same_bits(sharded.w.detach().to_local(), torch.full((2, 6), 2.0))


def test_nothing_is_held_after_the_context_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Python's collector, which may not run for long: a tape holds tensors that a model was computed from."""
    made: list[weakref.ref[Live]] = []

    class Watched(Live):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(weakref.ref(self))

    monkeypatch.setattr(entry, "Live", Watched)
    model = nn.Linear(8, 4)
    gc.disable()
    try:
        with fastinit.keyed(model, seed=0):
            model.reset_parameters()
        with pytest.raises(LookupError), fastinit.keyed(model, seed=0):
            raise LookupError
        fastinit.build(nn.Linear, 8, 4, seed=0)
        assert [reference() for reference in made] == [None] * 3
    finally:
        gc.enable()
