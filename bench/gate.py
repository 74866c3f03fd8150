"""The gate: no figure of a fill that is not the reference, bit for bit. A breach ends the run."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fastinit import Key, LocalShard, reference
from fastinit.fill import Fill
from fastinit.law.distributions import Distribution

# Elements that the reference can check in no time; of a larger tensor, its first and its last ones are checked.
PART = 2**16


def check(
    what: str, call: Callable[[], object], tensor: Tensor, law: Distribution, key: Key, shard: LocalShard
) -> None:
    """Poison the tensor, call, and compare with the reference, bit for bit. Raises ``SystemExit``."""
    tensor.fill_(torch.nan)
    call()
    compare(what, tensor, law, key, shard)


def compare(what: str, tensor: Tensor, law: Distribution, key: Key, shard: LocalShard) -> None:
    """Compare a filled tensor with the reference, bit for bit."""
    for part, place in _ends(tensor, shard):
        expected = torch.empty(part.shape, dtype=part.dtype)
        reference.fill_(expected, Fill(law, key, place))
        if not same_bits(part.cpu(), expected):
            raise SystemExit(f"{what} differs from the reference: nothing is measured")


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same bits; NaNs and signed zeros count as theirs."""
    return torch.equal(_bytes(one), _bytes(other))


def _ends(tensor: Tensor, shard: LocalShard) -> Iterator[tuple[Tensor, LocalShard]]:
    """The tensor, or the first and the last parts of one that is large."""
    if tensor.numel() <= PART:
        yield tensor, shard
        return
    dim = next(d for d, size in enumerate(tensor.shape) if size > 1)
    rows = max(1, PART // (tensor.numel() // tensor.shape[dim]))
    for start in (0, tensor.shape[dim] - rows):
        yield from _ends(tensor.narrow(dim, start, rows), shard.shifted(dim, start))


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)
