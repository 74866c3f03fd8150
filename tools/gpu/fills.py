"""Fills of no particular kind, for steps to which it is all the same what is filled."""

import torch
from torch import Tensor

import fastinit
from fastinit import Key, LocalShard
from fastinit.fill import Fill
from fastinit.law.distributions import TruncatedNormal
from gpu.here import Here
from gpu.truth import check

LAW = TruncatedNormal(0.0, 0.02, -0.06, 0.06)


def empty(here: Here, elements: int | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full((elements or here.sizes.fill,), torch.nan, dtype=dtype, device=here.device)


def fill(tensor: Tensor, key: Key) -> Tensor:
    return fastinit.trunc_normal_(tensor, *LAW.parameters(), key=key)


def is_filled(here: Here, tensor: Tensor, key: Key, samples: int = 3) -> int:
    """Raise Wrong where a tensor does not hold the values of a key; the number of its elements."""
    return check(here, tensor, Fill(LAW, key, LocalShard.whole(tuple(tensor.shape))), samples)


def empties(here: Here, number: int | None = None) -> list[Tensor]:
    """The tensors of a list: small ones, and of many sizes."""
    return [empty(here, 1000 + 8 * k) for k in range(number or here.sizes.list)]


def keys(number: int, seed: int = 0) -> list[Key]:
    return [Key.of(f"tensor {k}", seed) for k in range(number)]


def fill_list(tensors: list[Tensor], keys: list[Key]) -> None:
    fastinit.foreach_fill_(tensors, LAW, keys=keys)


def are_filled(here: Here, tensors: list[Tensor], keys: list[Key]) -> int:
    """All of them; some, by the reference too, which takes a millisecond a call."""
    numbered = enumerate(zip(tensors, keys, strict=True))
    return sum(is_filled(here, tensor, key, samples=k % 20 == 0) for k, (tensor, key) in numbered)
