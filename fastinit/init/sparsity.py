"""sparse_: a normal with the same number of zeros in each column, in rows that the key chooses."""

from functools import partial
from math import ceil

import torch
from torch import Generator, Tensor

from fastinit import op
from fastinit.generator import default_generator, draw_key
from fastinit.init.arguments import finite
from fastinit.init.fills import check_bounds, check_source, made
from fastinit.init.memory import has_memory
from fastinit.init.weights import logical_shape
from fastinit.law.distributions import Normal, Uniform
from fastinit.shard.described import describe
from fastinit.shard.geometry import LocalShard
from fastinit.shard.storage import write
from fastinit.stream import Key, stream_of

CHUNK = 2**20  # elements of whole columns that are ordered at a time


def sparse_(
    tensor: Tensor,
    sparsity: float,
    std: float = 0.01,
    generator: Generator | None = None,
    *,
    key: Key | None = None,
    shard: LocalShard | None = None,
) -> Tensor:
    """Fill a matrix, in place, with a normal, and put zeros in ``ceil(sparsity * rows)`` rows of each column.

    >>> w = sparse_(torch.empty(1024, 256), sparsity=0.9, key=Key.of("recurrent.weight", seed=0))

    Args:
        tensor, generator, key, shard: as in :func:`fastinit.trunc_normal_`; two dimensions.
        sparsity: the part of each column that is zero, in [0, 1].
        std: of the normal, >= 0; its mean is 0.

    Returns the same tensor. Raises what :func:`fastinit.trunc_normal_` does, and ``ValueError`` for other than two dimensions.

    What is not zero is what :func:`fastinit.normal_` has for the same key. The zeros are where fp32 values of
    :func:`fastinit.uniform_`, of another stream (``choice_key``), are smallest in the column; of equal ones the upper is. So any
    choice of rows is as likely as another, and a shard has the whole's: each rank orders the whole of the columns that it has a
    part of, a few of them at a time, and takes a byte for each of its own elements meanwhile.

    Source: Martens, "Deep learning via Hessian-free optimization" (2010), section 5.
    """
    check_source(key, generator)
    law = made(Normal, 0.0, std)
    described = describe(tensor, shard)
    shape = logical_shape(tensor, shard)
    if len(shape) != 2:
        raise ValueError(f"tensor: expected 2 dimensions, got shape {shape}")
    zeros = ceil(finite("sparsity", sparsity, least=0, most=1) * shape[0])
    if not has_memory(tensor):
        return tensor
    if not torch.compiler.is_compiling():
        check_bounds(law, tensor.dtype)
    drawn = draw_key(generator or default_generator(tensor.device)) if key is None else key
    chosen = [_chosen(view, box, drawn, zeros) for view, box in described.boxes]  # before anything is written
    for (view, box), zero in zip(described.boxes, chosen, strict=True):
        op.fill(view, law, drawn, box)
        write(view, partial(_put_zeros, zero))
    if described.sharded:
        torch.autograd.graph.increment_version(tensor)  # what was written to is the local tensor alone
    return tensor


def choice_key(seed: int, stream: int) -> Key:
    """The key of the uniforms that choose the zeros.

    >>> choice_key(seed=0, stream=1) == choice_key(seed=0, stream=2)
    False
    """
    return Key(seed, stream_of(b"rows of sparse_ %d" % stream))


setattr(choice_key, "_dynamo_marked_constant", True)  # noqa: B010 - torch.compile cannot trace the digest


def _chosen(view: Tensor, box: LocalShard, key: Key, zeros: int) -> Tensor:
    """Which elements of a box are to be zero, a bool each."""
    rows, columns = box.global_shape
    (first_row, first_column), (height, width) = box.global_offset, map(int, view.shape)
    chosen_by = choice_key(key.seed, key.stream)
    chosen = torch.empty(height, width, dtype=torch.bool, device=view.device)
    for start in range(0, width, step := max(1, CHUNK // max(rows, 1))):
        stop = min(start + step, width)
        order = torch.empty(rows, stop - start, device=view.device, dtype=torch.float32)
        op.fill(order, Uniform(), chosen_by, LocalShard((rows, columns), (0, first_column + start)))
        least = order.argsort(dim=0, stable=True)[:zeros]
        whole = torch.zeros_like(order, dtype=torch.bool).scatter_(0, least, True)
        chosen[:, start:stop] = whole[first_row : first_row + height]
    return chosen


def _put_zeros(where: Tensor, memory: Tensor) -> None:
    memory.masked_fill_(where, 0)
