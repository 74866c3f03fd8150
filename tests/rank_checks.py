"""What the cases of a gloo world have in common: the truth, the comparison, meshes, and the count of collectives.

The truth is the single-process fill of the whole tensor, and two tensors are the same when all their bits are.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from math import prod

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor.debug import CommDebugMode

import fastinit
from fastinit import Key, LocalShard, op
from fastinit.backends import llvm, reference
from fastinit.fill import Fill
from fastinit.law.distributions import Distribution

WORLD = int(sys.argv[1])
SEED = 2024
BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16}
SMALL = 2**12  # elements
fill_ = partial(fastinit.trunc_normal_, std=0.02, a=-0.06, b=0.06)


class Slices:
    """The CPU's backend, but for thousands of fills of a few small tensors: of those, as the adapter is under test, the
    reference fills each once, as a whole, and a fill is a slice of it."""

    @staticmethod
    def fill_(tensor: Tensor, fill: Fill) -> None:
        shape, offset = fill.shard.global_shape, fill.shard.global_offset
        if prod(shape) > SMALL:
            llvm.fill_(tensor, fill)
        else:
            box = tuple(slice(first, first + size) for first, size in zip(offset, tensor.shape, strict=True))
            with torch.no_grad():
                tensor.copy_(_filled(fill.distribution, fill.key, shape, tensor.dtype)[box])


@cache
def _filled(law: Distribution, key: Key, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    tensor = torch.full(shape, torch.nan, dtype=dtype)
    reference.fill_(tensor, Fill(law, key, LocalShard.whole(shape)))
    return tensor


op.backend_for = lambda device_type: Slices


@cache
def whole(name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """The single-process fill of a parameter."""
    return fill_(torch.empty(shape, dtype=dtype), key=Key.of(name, SEED))


def assert_same(actual: Tensor, expected: Tensor, *context: object) -> None:
    assert actual.shape == expected.shape, (tuple(actual.shape), tuple(expected.shape), *context)
    assert torch.equal(actual.view(BITS[actual.dtype]), expected.view(BITS[actual.dtype])), (actual, expected, *context)


@contextmanager
def silent() -> Iterator[None]:
    """No collective is run inside."""
    with CommDebugMode() as counted:
        yield
    assert counted.get_total_counts() == 0, counted.get_comm_counts()


@cache
def mesh_of(*shape: int, names: tuple[str, ...] | None = None) -> DeviceMesh:
    return init_device_mesh("cpu", shape, mesh_dim_names=names)
