"""A bank of experts with more than 2**31 elements: offsets in memory and global indices that 32 bits do not hold."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import fastinit
from fastinit import Key, LocalShard
from fastinit.fill import Fill
from gpu.fills import LAW
from gpu.here import Here
from gpu.truth import check

KEY = Key.of("experts.w1", seed=2**63 + 5)


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    def whole(bank: Tensor) -> Tensor:
        return bank

    def transposed(bank: Tensor) -> Tensor:
        return bank.mT

    def columns(bank: Tensor) -> Tensor:
        return bank[:, :, 8:-8]

    def odd_columns(bank: Tensor) -> Tensor:
        return bank[1:, :, 3:]

    def permuted(bank: Tensor) -> Tensor:
        return bank.permute(1, 2, 0)

    views = (whole, transposed, columns, odd_columns, permuted)
    dtypes = [dtype for dtype in here.sizes.dtypes if dtype in (torch.float32, torch.bfloat16)]
    found: dict[str, Callable[[], dict]] = {
        f"{str(dtype).removeprefix('torch.')}, {view.__name__}": partial(_filled, here, dtype, view)
        for dtype in dtypes
        for view in views
    }
    return found | {"list of its experts": partial(_as_list, here, dtypes[-1])}


def _filled(here: Here, dtype: torch.dtype, view: Callable[[Tensor], Tensor]) -> dict:
    tensor = view(torch.full(here.sizes.bank, torch.nan, dtype=dtype, device=here.device))
    fastinit.trunc_normal_(tensor, *LAW.parameters(), key=KEY)
    return {"elements": check(here, tensor, Fill(LAW, KEY, LocalShard.whole(tuple(tensor.shape))))}


def _as_list(here: Here, dtype: torch.dtype) -> dict:
    """Of which the last begins past 2**31 elements."""
    bank = torch.full(here.sizes.bank, torch.nan, dtype=dtype, device=here.device)
    experts, size = list(bank), tuple(bank.shape)
    shards = [LocalShard(size[1:], (0, 0)) for _ in experts]
    keys = [Key.of(f"experts.{k}", seed=1) for k in range(len(experts))]
    fastinit.foreach_fill_(experts, LAW, keys=keys, shards=shards)
    filled = zip(experts, keys, shards, strict=True)
    return {"elements": sum(check(here, expert, Fill(LAW, key, shard)) for expert, key, shard in filled)}
