"""Cases of a gloo world: DTensors of any placements, strides and order, and what a fill takes."""

from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

import torch
import torch.distributed as dist
from rank_checks import BITS, SEED, WORLD, assert_same, fill_, mesh_of, silent, whole
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor._dtensor_spec import DTensorSpec, ShardOrderEntry, TensorMeta
from torch.distributed.tensor.placement_types import Placement, _StridedShard

import fastinit
from fastinit import Key, LocalShard

MEBIBYTE = 2**20


def placements_of(ndim: int) -> list[Placement]:
    strided = [_StridedShard(dim, split_factor=factor) for dim, factor in product(range(min(ndim, 2)), (2, 3))]
    return [Replicate(), *map(Shard, range(ndim)), *strided]


def check_placements(
    mesh: DeviceMesh, placements: Sequence[Placement], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """The local tensor holds what distribute_tensor gives this rank of the truth."""
    truth = whole("w", shape, dtype)
    share = partial(distribute_tensor, device_mesh=mesh, placements=placements, src_data_rank=None)
    dtensor = share(torch.full(shape, torch.nan, dtype=dtype))
    with silent():
        fill_(dtensor, key=Key.of("w", SEED))
    assert_same(dtensor.to_local(), share(truth).to_local(), mesh.shape, placements, shape, dtype)


def one_dimensional_meshes() -> None:
    for shape in ((16,), (7,), (8, 12), (5, 7), (8, 3, 16), (3, 5, 2), (2, 8, 4, 3), (0, 4), (1,)):
        for placement, dtype in product(placements_of(len(shape)), BITS):
            check_placements(mesh_of(WORLD), [placement], shape, dtype)
    check_placements(mesh_of(WORLD), [Replicate()], (), torch.float32)


def two_dimensional_meshes() -> None:
    meshes = {mesh_of(WORLD // 2, 2), mesh_of(2, WORLD // 2)}
    for shape in ((16,), (9,), (8, 16), (7, 5), (3, 5, 2), (2, 8, 4, 3)):
        for mesh, dtype, pair in product(meshes, BITS, product(placements_of(len(shape)), repeat=2)):
            check_placements(mesh, pair, shape, dtype)


def three_dimensional_meshes() -> None:
    for shape in ((8, 16), (7, 5)):
        for placements in product(placements_of(2), repeat=3):
            check_placements(mesh_of(2, WORLD // 4, 2), placements, shape, torch.float32)


def full_tensor_is_the_truth() -> None:
    for shape in ((8, 16), (7, 5)):
        for pair in product([Replicate(), Shard(0), Shard(1)], repeat=2):
            dtensor = distribute_tensor(torch.full(shape, torch.nan), mesh_of(WORLD // 2, 2), pair)
            fill_(dtensor, key=Key.of("w", SEED))
            assert_same(dtensor.full_tensor(), whole("w", shape), pair)


def an_explicit_shard_order() -> None:
    """Of a spec whose mesh dimensions do not split from left to right, and whose placements do not tell."""
    mesh, truth = mesh_of(WORLD // 2, 2), whole("w", (12, 3))
    first, second = mesh.get_coordinate()[1], mesh.get_coordinate()[0]
    mine = truth.chunk(2)[first].chunk(WORLD // 2)
    mine = mine[second] if second < len(mine) else truth[:0]
    meta = TensorMeta(truth.shape, truth.stride(), truth.dtype)
    spec = DTensorSpec(mesh, (Shard(0), Shard(0)), meta, shard_order=(ShardOrderEntry(0, (1, 0)),))
    dtensor = DTensor(torch.full_like(mine, torch.nan), spec, requires_grad=False)
    fill_(dtensor, key=Key.of("w", SEED))
    assert_same(dtensor.to_local(), mine)


def local_tensors_of_any_strides() -> None:
    """from_local: the local tensor is a transposed part of a larger buffer, of which nothing else may change."""
    buffer = torch.full((9, 6), torch.nan)
    local = buffer[1:8:2, 1:4].T
    dtensor = DTensor.from_local(local, mesh_of(WORLD), [Shard(1)])
    fill_(dtensor, key=Key.of("w", SEED))
    assert_same(local.contiguous(), whole("w", (3, 4 * WORLD)).chunk(WORLD, 1)[dist.get_rank()].contiguous())
    assert buffer.isnan().sum() == buffer.numel() - local.numel()


def other_laws_and_the_version() -> None:
    for law, arguments in ((fastinit.normal_, (1.0, 0.1)), (fastinit.uniform_, (-0.1, 0.3))):
        dtensor = nn.Parameter(distribute_tensor(torch.zeros(5, 7), mesh_of(WORLD), [Shard(1)]))
        before = dtensor._version
        law(dtensor, *arguments, key=Key(3, 4))
        assert dtensor._version > before
        assert_same(dtensor.full_tensor(), law(torch.empty(5, 7), *arguments, key=Key(3, 4)))


def no_temporary() -> None:
    """A fill takes at most 64 MiB above the local shard: here the whole tensor has 128 MiB."""
    columns, rows = 1024, 32 * 1024 // WORLD
    end = rows * (dist.get_rank() + 1)
    local = torch.full((rows, columns), torch.nan)
    dtensor = DTensor.from_local(local, mesh_of(WORLD), [Shard(0)])
    fill_(DTensor.from_local(torch.zeros(8, columns), mesh_of(WORLD), [Shard(0)]), key=Key(1, 2))
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = memory("VmRSS")
    fill_(dtensor, key=Key.of("w", SEED))
    assert memory("VmHWM") - before <= 64 * MEBIBYTE
    last_row = LocalShard((rows * WORLD, columns), (end - 1, 0))
    assert_same(local[-1:], fill_(torch.empty(1, columns), key=Key.of("w", SEED), shard=last_row))


def memory(field: str) -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) * 1024


CASES = [
    no_temporary,
    one_dimensional_meshes,
    two_dimensional_meshes,
    three_dimensional_meshes,
    full_tensor_is_the_truth,
    an_explicit_shard_order,
    local_tensors_of_any_strides,
    other_laws_and_the_version,
]
