"""Cases of a gloo world: what is refused, where the key comes from, and check_in_sync."""

import pytest
import torch
import torch.distributed as dist
from rank_checks import SEED, WORLD, assert_same, fill_, mesh_of, whole
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode

import fastinit
from fastinit import Key, LocalShard
from fastinit.shard.dtensor import local_fills


def copies_are_refused() -> None:
    weight = nn.Parameter(distribute_tensor(torch.zeros(2 * WORLD, 6), mesh_of(WORLD), [Shard(0)]))
    slices = {
        "select": lambda w: w[1],
        "slice": lambda w: w[2:4],
        "narrow": lambda w: w.narrow(0, 1, 2),
        "chunk": lambda w: w.chunk(2)[0],
        "diagonal": lambda w: w.diagonal(),
        "of data": lambda w: w.data[1],
        "of detach": lambda w: w.detach()[1],
        "of a view": lambda w: w[:, 1][2],
    }
    for take in slices.values():
        for grad in (torch.no_grad, torch.enable_grad):
            with grad():
                part = take(weight)
            with pytest.raises(ValueError, match="LocalShard"):
                fill_(part, key=Key(1, 2))
    assert not weight.to_local().any()


def views_are_filled() -> None:
    """What shares its memory with the parameter is a tensor of its own, as a view of a plain tensor is."""
    weight = nn.Parameter(distribute_tensor(torch.zeros(2 * WORLD, 6), mesh_of(WORLD), [Shard(0)]))
    with torch.no_grad():
        fill_(weight[:, 1], key=Key.of("column", SEED))
        fill_(weight.T[2:4], key=Key.of("rows", SEED))
    full = weight.full_tensor().detach()
    assert_same(full[:, 1].contiguous(), whole("column", (2 * WORLD,)))
    assert_same(full[:, 2:4].T.contiguous(), whole("rows", (2, 2 * WORLD)))
    assert not full[:, [0, 4, 5]].any()


def bad_dtensors_are_refused() -> None:
    mesh = mesh_of(WORLD)
    for dtensor, message in (
        (DTensor.from_local(torch.zeros(4, 4), mesh, [Partial()]), "Partial"),
        (DTensor.from_local(torch.zeros(4, 1).expand(4, 4), mesh, [Shard(0)]), "memory"),
        (DTensor.from_local(torch.zeros(4, 4), mesh, [Shard(0)], shape=(3, 4), stride=(4, 1)), "local tensor of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            fill_(dtensor, key=Key(1, 2))
    with pytest.raises(ValueError, match="shard"):
        fill_(distribute_tensor(torch.zeros(4), mesh, [Shard(0)]), key=Key(1, 2), shard=LocalShard((4,), (0,)))


def ranks_outside_the_mesh_have_nothing_to_do() -> None:
    mesh = DeviceMesh("cpu", list(range(WORLD - 1)))
    dtensor = distribute_tensor(torch.full((5, 3), torch.nan), mesh, [Shard(0)])
    torch.manual_seed(5)
    fill_(dtensor)
    after = torch.default_generator.get_state()
    torch.manual_seed(5)
    truth = fill_(torch.empty(5, 3))
    assert torch.equal(after, torch.default_generator.get_state())
    if dist.get_rank() == WORLD - 1:
        assert local_fills(dtensor) == []
    else:
        assert_same(dtensor.full_tensor(), truth)


def the_generator_moves_alike_on_every_rank() -> None:
    for make in (lambda: torch.manual_seed(7), lambda: torch.Generator().manual_seed(7)):
        generator = make()
        given = None if generator is torch.default_generator else generator
        dtensors = [distribute_tensor(torch.zeros(shape), mesh_of(WORLD), [Shard(0)]) for shape in ((3, 2), (1,), (9,))]
        for dtensor in dtensors:
            fill_(dtensor, generator=given)
        after = generator.get_state()
        generator.manual_seed(7)
        for dtensor in dtensors:
            assert_same(dtensor.full_tensor(), fill_(torch.empty(dtensor.shape), generator=given))
        assert torch.equal(after, generator.get_state())


def check_in_sync_finds_who_differs() -> None:
    rank = dist.get_rank()
    names = ["layers.0.w", "layers.1.w"]
    with CommDebugMode() as counted:
        fastinit.check_in_sync(5, names=names[:: -1 if rank else 1])
    assert counted.get_total_counts() == 1
    fastinit.check_in_sync(Key(5, 2**64 - 1))
    torch.manual_seed(3)
    state = torch.get_rng_state()
    with pytest.MonkeyPatch.context() as patch:  # torch built for a GPU, without one
        cuda = torch.device("cuda")
        patch.setattr(torch.accelerator, "current_accelerator", lambda available=False: None if available else cuda)
        fastinit.check_in_sync()
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(RuntimeError, match=f"seed is 5 on ranks 0, 2-{WORLD - 1} and 6 on rank 1"):
        fastinit.check_in_sync(6 if rank == 1 else 5)
    with pytest.raises(RuntimeError, match="stream is"):
        fastinit.check_in_sync(Key(5, rank))
    with pytest.raises(RuntimeError, match="generator state is"):
        fastinit.check_in_sync(generator=torch.Generator().manual_seed(rank))
    with pytest.raises(RuntimeError, match=f"number of names is 2 on ranks 1-{WORLD - 1} and 1 on rank 0; names is"):
        fastinit.check_in_sync(5, names=names if rank else names[:1])
    stages = mesh_of(2, WORLD // 2, names=("pipeline", "data"))
    fastinit.check_in_sync(rank // (WORLD // 2), group=stages["data"].get_group())


CASES = [
    copies_are_refused,
    views_are_filled,
    bad_dtensors_are_refused,
    ranks_outside_the_mesh_have_nothing_to_do,
    the_generator_moves_alike_on_every_rank,
    check_in_sync_finds_who_differs,
]
