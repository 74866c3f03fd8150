"""normalize_: nGPT's normalisation of a weight, to the same bits however the weight is sharded.

A floating-point sum depends on its order, and so on the shards. Sums of integers do not: the squares are rounded to
integers first, finely enough that no fp32 norm notices.
"""

import math

import torch
import torch.distributed as dist
from torch import Tensor

from fastinit.law.distributions import Distribution, TruncatedNormal, Uniform
from fastinit.shard import dtensor

_LARGEST_SUM = 2**61  # leaves room for the rounding of each square


def normalize_(tensor: Tensor, dim: int, law: Distribution) -> None:
    """Divide, in place, by the L2 norms along a dimension; the law bounds the values.

    The ranks that share a vector add up one integer a vector; where none is shared nothing is communicated.
    """
    dim %= tensor.ndim
    local = tensor._local_tensor if dtensor.is_dtensor(tensor) else tensor  # type: ignore[attr-defined]
    scale = 2.0 ** math.floor(math.log2(_LARGEST_SUM / (tensor.shape[dim] * _largest_square(law))))
    with torch.no_grad():
        sums = local.double().square_().mul_(scale).round_().long().sum(dim, keepdim=True)
        if dtensor.is_dtensor(tensor):
            _add_up(sums, tensor, dim)
        local.div_((sums.double() / scale).sqrt_().float().to(local.dtype))


def _add_up(sums: Tensor, tensor: Tensor, dim: int) -> None:
    """Over the mesh dimensions that split the dimension of the sum."""
    mesh = tensor.device_mesh  # type: ignore[attr-defined]
    for mesh_dim, placement in enumerate(tensor.placements):  # type: ignore[attr-defined]
        if getattr(placement, "dim", None) == dim:
            dist.all_reduce(sums, group=mesh.get_group(mesh_dim))


def _largest_square(law: Distribution) -> float:
    """A normal's values lie within 7 std of its mean."""
    if isinstance(law, Uniform):
        largest = max(abs(law.a), abs(law.b))
    else:
        largest = abs(law.mean) + 7 * law.std
        if isinstance(law, TruncatedNormal):
            largest = min(largest, max(abs(law.a), abs(law.b)))
    return largest**2 or 1.0
