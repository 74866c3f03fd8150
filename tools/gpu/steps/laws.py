"""Every law of the suite, in every dtype and layout and in lists, from NaN: bit for bit, and nothing beside it written."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from strategies import LAWS
from torch import Tensor

import fastinit
from fastinit import Key
from fastinit.fill import Fill
from fastinit.init import fill_
from gpu.here import Here
from gpu.layouts import LAYOUTS, listed
from gpu.truth import Wrong, check, is_untouched

Filled = Iterable[tuple[Tensor, Tensor, Fill]]  # buffer, tensor, what it was filled with


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // here.workers))  # of the comparison, in each process
    fills = {layout: partial(_alone, layout) for layout in LAYOUTS} | {"list": _in_lists}
    return {
        f"{str(dtype).removeprefix('torch.')}, {layout}": partial(_checked, here, filled, dtype)
        for layout, filled in fills.items()
        for dtype in here.sizes.dtypes
    }


def _checked(here: Here, filled: Callable[[Here, torch.dtype], Filled], dtype: torch.dtype) -> dict:
    """A wrong fill of one law does not hide another's."""
    elements, wrong = 0, []
    for buffer, tensor, fill in filled(here, dtype):
        try:
            elements += check(here, tensor, fill)
            if not is_untouched(buffer, tensor):
                raise Wrong(f"written outside of the tensor: {fill}")
        except Wrong as error:
            wrong.append(str(error))
    if wrong:
        raise Wrong("\n".join(wrong), elements=elements, wrong=len(wrong))
    return {"elements": elements}


def _alone(layout: str, here: Here, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor, Fill]]:
    for number, name in enumerate(here.sizes.laws or LAWS):
        buffer, tensor, shard = LAYOUTS[layout](here.sizes.law, dtype, here.device)
        fill = Fill(LAWS[name], Key.of(f"{layout} {name}", seed=number), shard)
        fill_(tensor, fill.distribution, key=fill.key, shard=shard)
        yield buffer, tensor, fill


def _in_lists(here: Here, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor, Fill]]:
    """A list of every law, all in one call."""
    laid, laws = [], []
    for name in here.sizes.laws or LAWS:
        laid += listed(here.sizes.law, dtype, here.device)
        laws += [LAWS[name]] * (len(laid) - len(laws))
    keys = [Key.of(f"list {k}", seed=3) for k in range(len(laid))]
    shards = [shard for _, _, shard in laid]
    fastinit.foreach_fill_([tensor for _, tensor, _ in laid], laws, keys=keys, shards=shards)
    for (buffer, tensor, shard), law, key in zip(laid, laws, keys, strict=True):
        yield buffer, tensor, Fill(law, key, shard)
