"""Layouts: the tensors that are filled, each with its place in the logical tensor."""

from collections.abc import Callable

import torch
from torch import Tensor

from fastinit.shard.geometry import LocalShard

COLUMNS = 4096
EXPERTS = 4


def linear(elements: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, LocalShard]:
    """A contiguous weight."""
    columns = min(COLUMNS, elements)
    return _whole(torch.empty(elements // columns, columns, dtype=dtype, device=device))


def bank(elements: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, LocalShard]:
    """Of each expert of a bank the lower right quarter, in place: rows that follow on neither in memory nor in the index."""
    columns = min(COLUMNS // 4, elements // EXPERTS)
    rows = elements // EXPERTS // columns
    memory = torch.empty(EXPERTS, 2 * rows, 2 * columns, dtype=dtype, device=device)
    return memory[:, rows:, columns:], LocalShard(tuple(memory.shape), (0, rows, columns))


def transposed(elements: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, LocalShard]:
    """A weight whose memory runs along its rows."""
    return _whole(linear(elements, dtype, device)[0].t())


def misaligned(elements: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, LocalShard]:
    """An odd number of elements, one element off any alignment."""
    return _whole(torch.empty(elements, dtype=dtype, device=device)[1:])


def _whole(tensor: Tensor) -> tuple[Tensor, LocalShard]:
    return tensor, LocalShard.whole(tuple(tensor.shape))


LAYOUTS: dict[str, Callable[[int, torch.dtype, torch.device], tuple[Tensor, LocalShard]]] = {
    "linear": linear,
    "bank": bank,
    "transposed": transposed,
    "misaligned": misaligned,
}
