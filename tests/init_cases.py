"""Cases of a gloo world: the calls of fastinit.init on DTensors, whose shards are those of what one process would fill."""

from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
import torch
from rank_checks import SEED, WORLD, assert_same, mesh_of, silent
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.placement_types import _StridedShard

from fastinit import Key, init

KEY = Key.of("w", SEED)
PLACEMENTS = [Replicate(), Shard(0), Shard(1), _StridedShard(0, split_factor=2)]
OF_A_MATRIX: dict[str, Callable[[Tensor], Tensor]] = {
    "kaiming_normal_": partial(init.kaiming_normal_, key=KEY),
    "xavier_uniform_": partial(init.xavier_uniform_, key=KEY),
    "lecun_normal_": partial(init.lecun_normal_, key=KEY),
    "orthogonal_": partial(init.orthogonal_, key=KEY),
    "sparse_": partial(init.sparse_, sparsity=0.4, key=KEY),
    "constant_": partial(init.constant_, val=0.3),
    "eye_": init.eye_,
}
OF_A_BANK: dict[str, Callable[[Tensor], Tensor]] = {
    "kaiming_uniform_": partial(init.kaiming_uniform_, layout="e o i", key=KEY),
    "orthogonal_": partial(init.orthogonal_, layout="e o i", key=KEY),
    "dirac_": partial(init.dirac_, groups=2),
}


def calls_of_init() -> None:
    mesh = mesh_of(WORLD // 2, 2)
    for shape, fills in (((8, 12), OF_A_MATRIX), ((7, 5), OF_A_MATRIX), ((6, 4, 3), OF_A_BANK)):
        for (name, fill_), placements in product(fills.items(), product(PLACEMENTS, repeat=2)):
            share = partial(distribute_tensor, device_mesh=mesh, placements=placements, src_data_rank=None)
            dtensor = share(torch.full(shape, torch.nan))
            version = dtensor._version
            with silent():
                assert fill_(dtensor) is dtensor
            assert dtensor._version > version, name
            assert_same(dtensor.to_local(), share(fill_(torch.empty(shape))).to_local(), name, shape, placements)


def a_slice_that_is_a_copy_is_refused() -> None:
    """torch.nn.init.zeros_ of a sharded embedding's padding row changes nothing, and says nothing."""
    weight = distribute_tensor(torch.ones(8, 4), mesh_of(WORLD), [Shard(0)], src_data_rank=None)
    torch.nn.init.zeros_(weight[1])
    assert bool(weight.to_local().all())
    for fill_ in (init.zeros_, init.ones_, partial(init.constant_, val=3.0)):
        with pytest.raises(ValueError, match="of which torch made a copy"):
            fill_(weight[1])
    assert isinstance(init.zeros_(weight), DTensor)
    assert not weight.to_local().any()


CASES = [calls_of_init, a_slice_that_is_a_copy_is_refused]
