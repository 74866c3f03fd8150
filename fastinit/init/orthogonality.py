"""orthogonal_: a random orthogonal matrix, or one an expert, as an operator for the same reasons as op.py's."""

from collections.abc import Sequence
from functools import partial
from math import prod

import torch
from torch import Generator, Tensor

from fastinit import op
from fastinit.generator import default_generator, draw_key
from fastinit.init.arguments import finite
from fastinit.init.fills import check_source
from fastinit.init.memory import has_memory
from fastinit.init.orthonormal import orthonormal_rows
from fastinit.init.weights import matrices_of
from fastinit.law.distributions import Normal
from fastinit.shard.described import describe
from fastinit.shard.geometry import LocalShard, Shape
from fastinit.shard.storage import write
from fastinit.stream import Key


def orthogonal_(
    tensor: Tensor,
    gain: float = 1,
    generator: Generator | None = None,
    *,
    key: Key | None = None,
    shard: LocalShard | None = None,
    layout: str | None = None,
    num_experts: int | None = None,
) -> Tensor:
    """Fill the tensor, in place, with ``gain`` times a random (semi-)orthogonal matrix, of a bank one for each expert.

    >>> w = orthogonal_(torch.empty(8, 64, 32), layout="e o i", key=Key.of("blocks.0.experts.w1", seed=0))
    >>> torch.linalg.matrix_norm(w.mT @ w - torch.eye(32)).max().item() < 1e-5
    True

    Args:
        tensor, generator, key, shard: as in :func:`fastinit.trunc_normal_`; two dimensions or more, of which the first of an
            expert has the rows, and the others the columns.
        gain: a finite number.
        layout, num_experts: as in :func:`kaiming_uniform_`; they tell the matrices apart. Without a layout it is one matrix, as
            torch has it, and three dimensions are a warning that says which.

    Returns the same tensor. Raises what :func:`fastinit.trunc_normal_` does, and ``ValueError`` for fewer than two dimensions and a
    layout that does not fit.

    The matrix is Q of the QR decomposition of the values that :func:`fastinit.normal_` has for the same key, transposed where it is
    wide, with a positive diagonal of R: so every orthogonal matrix is as likely as any other. In fp64 it is orthogonal to a few
    2**-53; other dtypes get each element rounded to fp32, and that to the dtype. The bits are the same on any processor, with any
    number of threads and on any shard (orthonormal.py says how).

    What that costs: the decomposition is done in fp64 on the CPU, whatever the tensor's device, and **each rank makes the whole
    matrix**, or those of the experts that it has a part of, one after the other. One of n x n takes 48 n² bytes meanwhile, and
    some six times as long as LAPACK: on one core 1 s for n = 1024, 45 s for 4096. So a rank of an expert-parallel bank does its own
    experts alone, and a matrix that is sharded is made by each of its ranks.

    Source: Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks" (2013); the signs:
    Mezzadri, "How to generate random matrices from the classical compact groups" (2007).
    """
    check_source(key, generator)
    described = describe(tensor, shard)
    scale = finite("gain", gain)
    matrices = matrices_of(tensor, shard, layout, num_experts)
    if not has_memory(tensor):
        return tensor
    drawn = draw_key(generator or default_generator(tensor.device)) if key is None else key
    for view, box in described.boxes:
        torch.ops.fastinit.orthogonal_.default(view.detach(), scale, *op.to_words(drawn, box), matrices)
    if described.sharded:
        torch.autograd.graph.increment_version(tensor)  # the operator has seen the local tensor alone
    return tensor


_LIBRARY = torch.library.Library("fastinit", "FRAGMENT")
_LIBRARY.define(
    "orthogonal_(Tensor(a!) tensor, float gain, int seed, int stream, int[] global_shape, int[] global_offset, "
    "int[] matrices) -> ()"
)


def _orthogonal(
    tensor: Tensor,
    gain: float,
    seed: int,
    stream: int,
    global_shape: Sequence[int],
    global_offset: Sequence[int],
    matrices: Sequence[int],
) -> None:
    if tensor.numel() == 0:
        return
    key, box = op.from_words(seed, stream, global_shape, global_offset)
    dim, size, _, rows = matrices
    shape = tuple(size if d == dim else n for d, n in enumerate(box.global_shape))
    first, end = box.global_offset[dim], box.global_offset[dim] + tensor.shape[dim]
    for begin in range(first // size * size, end, size):
        start, stop = max(first, begin), min(end, begin + size)
        memory = tensor.narrow(dim, start - first, stop - start)
        matrix = _matrix(shape, rows, key, LocalShard.whole(box.global_shape).shifted(dim, begin), gain)
        offset = [start - begin if d == dim else n for d, n in enumerate(box.global_offset)]
        part = matrix[tuple(slice(n, n + size) for n, size in zip(offset, memory.shape, strict=True))]
        write(memory, partial(_copy, part if memory.dtype == torch.float64 else part.float()))


_LIBRARY.impl("orthogonal_", _orthogonal, "CompositeExplicitAutograd")


@torch.library.register_fake("fastinit::orthogonal_", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _orthogonal_fake(tensor: Tensor, *_: object) -> None:
    """A fake tensor has no memory to fill."""


def _matrix(shape: Shape, rows: int, key: Key, box: LocalShard, gain: float) -> Tensor:
    """One expert's matrix, of the expert's shape, in fp64 on the CPU."""
    normals = torch.empty(shape, dtype=torch.float64, device="cpu")
    op.fill(normals, Normal(), key, box)
    matrix = normals.numpy().reshape(rows, prod(shape) // rows)
    wide = matrix.shape[0] < matrix.shape[1]
    rotated = orthonormal_rows(matrix) if wide else orthonormal_rows(matrix.T.copy()).T
    return torch.from_numpy((rotated * gain).reshape(shape))


def _copy(source: Tensor, memory: Tensor) -> None:
    memory.copy_(source)
