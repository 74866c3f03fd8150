"""Whether a filled tensor is right, bit for bit.

All of it is compared with the CPU's backend, which the suite proves equal to the reference and which fills 10**8 elements in
a second; a part of the beginning, the middle and the end, with the reference itself, which takes a thousand times as long.
(The reference computes on the CPU wherever its tensor is, so a GPU would not make it faster.)
"""

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

from fastinit import backends
from fastinit.backends import reference
from fastinit.fill import Fill
from fastinit.law.distributions import Uniform
from fastinit.shard.bits import bits_of
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key
from gpu.here import Here


class Wrong(Exception):
    """Something is not as it must be; ``figures`` go into its row."""

    def __init__(self, text: str, **figures: object) -> None:
        super().__init__(text)
        self.figures = figures


def check(here: Here, tensor: Tensor, fill: Fill, samples: int = 3) -> int:
    """Compare a filled tensor with what it must hold, and return the number of its elements, or raise Wrong."""
    for part, shard in parts(tensor, fill.shard, here.sizes.part):
        _compare(_fast(), part, Fill(fill.distribution, fill.key, shard))
    for start in (0, tensor.numel() // 2, tensor.numel())[:samples]:
        part, shard = _sample(tensor, fill.shard, start, here.sizes.sample)
        _compare(reference, part, Fill(fill.distribution, fill.key, shard))
    return tensor.numel()


@cache
def _fast() -> object:
    """The CPU's backend, if it works here: with another llvmlite than it is made for it may be imported, and compile nothing."""
    try:
        llvm = backends.get("llvm")
        llvm.fill_(torch.empty(8), Fill(Uniform(), Key(), LocalShard.whole((8,))))
    except Exception:  # the doctor tells which; all is compared all the same
        return reference
    return llvm


def _compare(backend: object, tensor: Tensor, fill: Fill) -> None:
    expected = torch.empty(tensor.shape, dtype=tensor.dtype)
    backend.fill_(expected, fill)
    got, wanted = bits_of(tensor.contiguous().cpu()), bits_of(expected)
    if torch.equal(got, wanted):
        return
    different = (got != wanted).flatten()
    at = int(different.nonzero()[0])
    place = tuple(int(k) for k in torch.unravel_index(torch.tensor(at), tensor.shape))
    first = f"{tensor[place].item()!r} for {expected[place].item()!r}"
    raise Wrong(
        f"{int(different.sum())} of {different.numel()} elements of {tuple(tensor.shape)}, {tensor.dtype}, differ from "
        f"{backend.__name__}, first {place} of {fill.shard}: {first}; {fill.distribution}, {fill.key}"
    )


def parts(tensor: Tensor, shard: LocalShard, size: int) -> Iterator[tuple[Tensor, LocalShard]]:
    """The tensor in parts of about so many elements, each with its place."""
    if tensor.numel() <= size:
        yield tensor, shard
        return
    dim = next(d for d, n in enumerate(tensor.shape) if n > 1)
    rows = max(1, size // (tensor.numel() // tensor.shape[dim]))
    for start in range(0, tensor.shape[dim], rows):
        part = tensor.narrow(dim, start, min(rows, tensor.shape[dim] - start))
        yield from parts(part, shard.shifted(dim, start), size)


def _sample(tensor: Tensor, shard: LocalShard, start: int, size: int) -> tuple[Tensor, LocalShard]:
    """A part of at most so many elements, around the one of this row-major number, as far as the tensor goes."""
    for dim, n in enumerate(tensor.shape):
        each = tensor.numel() // n
        rows = min(n, max(1, size // each))
        first = min(start // each, n - rows)
        start -= first * each
        tensor, shard = tensor.narrow(dim, first, rows), shard.shifted(dim, first)
        if rows > 1:
            break
    return tensor, shard


def is_untouched(buffer: Tensor, tensor: Tensor) -> bool:
    """Whether a buffer that was all NaN still is, but for the tensor within."""
    return int(buffer.isnan().sum()) == buffer.numel() - tensor.numel()
