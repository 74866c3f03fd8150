"""Tensors of every layout that has a kernel or a path of its own, inside of buffers that are NaN, each with its place."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fastinit import LocalShard

Laid = tuple[Tensor, Tensor, LocalShard]  # buffer, tensor, its place
FAR = 2**40 + 2**13  # an index past 32 bits, which an element can have


def flat(n: int, dtype: torch.dtype, device: torch.device) -> Laid:
    buffer = _nan(n + 24, dtype, device)
    n -= n % 8
    return buffer, buffer[8 : 8 + n], LocalShard((2**42,), (FAR,))


def odd(n: int, dtype: torch.dtype, device: torch.device) -> Laid:
    """An odd number of elements, off any alignment, of odd indices."""
    buffer = _nan(n + 24, dtype, device)
    n -= 1 - n % 2
    return buffer, buffer[5 : 5 + n], LocalShard((2**42,), (FAR + 3,))


def rows(n: int, dtype: torch.dtype, device: torch.device) -> Laid:
    """Columns of a weight."""
    columns = _columns(n)
    buffer = _nan((n // columns, columns + 64), dtype, device)
    return buffer, buffer[:, 32 : 32 + columns], LocalShard((2**20, 4 * columns), (77, columns))


def odd_rows(n: int, dtype: torch.dtype, device: torch.device) -> Laid:
    columns = _columns(n) + 3
    buffer = _nan((n // columns, columns + 10), dtype, device)
    return buffer, buffer[:, 3 : 3 + columns], LocalShard((2**20, 4 * columns + 1), (77, columns))


def bank(n: int, dtype: torch.dtype, device: torch.device) -> Laid:
    """A quarter of each expert of a bank, in place."""
    return _of_bank(n, dtype, device, _columns(n // 4))


def odd_bank(n: int, dtype: torch.dtype, device: torch.device) -> Laid:
    return _of_bank(n, dtype, device, _columns(n // 4) + 1)


def _of_bank(n: int, dtype: torch.dtype, device: torch.device, columns: int) -> Laid:
    height = max(n // 4 // columns, 1)
    buffer = _nan((4, 2 * height, 2 * columns), dtype, device)
    tensor = buffer[:, height:, columns:]
    return buffer, tensor, LocalShard((2**12, *buffer.shape[1:]), (2**9, height, columns))


def transposed(n: int, dtype: torch.dtype, device: torch.device) -> Laid:
    """Experts of which memory runs along the rows."""
    columns = _columns(n // 4)
    height = max(n // 4 // columns, 1)
    buffer = _nan((4, columns, height), dtype, device)
    return buffer, buffer.mT, LocalShard((2**12, height, columns), (2**9, 0, 0))


def permuted(n: int, dtype: torch.dtype, device: torch.device) -> Laid:
    """More loops than a launch has."""
    columns = _columns(n // 12)
    buffer = _nan((3, 2, columns, max(n // 12 // columns, 1), 3), dtype, device)
    tensor = buffer[..., :2].permute(1, 0, 3, 4, 2)
    return buffer, tensor, LocalShard((2**12, *tensor.shape[1:]), (2**9, 0, 0, 0, 0))


LAYOUTS: dict[str, Callable[[int, torch.dtype, torch.device], Laid]] = {
    "flat": flat,
    "odd": odd,
    "rows": rows,
    "odd rows": odd_rows,
    "bank": bank,
    "odd bank": odd_bank,
    "transposed": transposed,
    "permuted": permuted,
}


def listed(n: int, dtype: torch.dtype, device: torch.device) -> list[Laid]:
    """Tensors of a list: of all lengths that have a block of their own, rows of them, and one that no table serves."""
    sizes = [int(n * share) + k for k, share in enumerate((1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.3)) if n * share >= 1]
    found = [(odd, flat)[k % 2](max(size, 8), dtype, device) for k, size in enumerate([*sizes, 300, 1027, 2100])]
    return [*found, rows(n // 4, dtype, device), odd_rows(n // 4, dtype, device), transposed(n // 8, dtype, device)]


def _columns(n: int) -> int:
    """About the square root, a multiple of 8, and at most 4096."""
    return max(8, min(4096, math.isqrt(n) // 8 * 8))


def _nan(shape: int | tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((shape,) if isinstance(shape, int) else shape, math.nan, dtype=dtype, device=device)
