"""Several ranks in one process, as where a job is rehearsed: each has its own part, not that of a rank that was there before."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

import fastinit
from fastinit import Key
from fastinit.law.distributions import Normal

WORLD, SHAPE = 4, (8, 6)


def ranks(named: bool = False) -> Iterator[DeviceMesh]:
    """The mesh of each rank. torch says that they are equal, and what it makes of a DTensor has the mesh of the first that it saw.

    A name of its own keeps that from happening to a parameter, which is made of a DTensor.
    """
    for rank in range(WORLD):
        dist.init_process_group("fake", rank=rank, world_size=WORLD, store=FakeStore())
        try:
            yield init_device_mesh("cpu", (WORLD,), mesh_dim_names=(f"rank{rank}",) if named else None)
        finally:
            dist.destroy_process_group()


def sharded(mesh: DeviceMesh, dim: int) -> DTensor:
    shape = [n // WORLD if d == dim else n for d, n in enumerate(SHAPE)]
    return DTensor.from_local(torch.full(shape, torch.nan), mesh, [Shard(dim)])


def whole(name: str) -> torch.Tensor:
    return fastinit.normal_(torch.empty(SHAPE), key=Key.of(name))


class Model(nn.Module):
    """Two parameters, sharded by rows."""

    def __init__(self, mesh: DeviceMesh | None = None) -> None:
        super().__init__()
        for name in ("a", "b"):
            self.register_parameter(name, nn.Parameter(sharded(mesh, 0) if mesh else torch.empty(SHAPE)))

    def init_weights(self) -> None:
        for parameter in self.parameters():
            nn.init.normal_(parameter)


RECIPE = fastinit.record(Model, Model.init_weights)


def test_one_list_of_all_ranks() -> None:
    tensors = [sharded(mesh, 0) for mesh in ranks()]
    fastinit.foreach_fill_(tensors, Normal(), keys=[Key.of("w")] * WORLD)
    for tensor, expected in zip(tensors, whole("w").chunk(WORLD), strict=True):
        assert torch.equal(tensor.to_local(), expected)


def test_one_tensor_of_each_rank() -> None:
    for mesh, expected in zip(ranks(), whole("w").chunk(WORLD), strict=True):
        assert torch.equal(fastinit.normal_(sharded(mesh, 0), key=Key.of("w")).to_local(), expected)


def test_one_model_of_each_rank() -> None:
    """Recorded once, filled, verified and filled live; in a mesh of the next rank, in memory that may be that of the last."""
    for rank, mesh in enumerate(ranks(named=True)):
        model = Model(mesh)
        fastinit.init_model_(model, RECIPE)
        assert fastinit.verify_model_(model, RECIPE)
        live = Model(mesh)
        with fastinit.keyed(live):
            live.init_weights()
        for name, parameter in (*model.named_parameters(), *live.named_parameters()):
            assert torch.equal(parameter.to_local(), whole(name).chunk(WORLD)[rank])


@pytest.mark.parametrize("kept", [False, True])
def test_one_model_with_parameters_of_two_ranks(kept: bool) -> None:
    """As of two meshes."""
    first, second, *_ = (Model(mesh) for mesh in ranks(named=True))
    model = Model()
    model.a, model.b = (first.a, second.a) if kept else (second.a, first.a)
    fastinit.init_model_(model, RECIPE)
    for name, rank in (("a", 0 if kept else 1), ("b", 1 if kept else 0)):
        assert torch.equal(model.get_parameter(name).to_local(), whole(name).chunk(WORLD)[rank])
    assert fastinit.verify_model_(model, RECIPE)
