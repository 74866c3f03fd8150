"""describe: all that a fill must know of a tensor, found out once, with every check of it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fastinit.shard import dtensor
from fastinit.shard.geometry import LocalShard, overlaps
from fastinit.shard.storage import check_memory, check_tensor

Boxes = list[tuple[Tensor, LocalShard]]


class Described(NamedTuple):
    """The plain tensors to fill, each with its place in the logical global tensor; ``sharded``: those of a DTensor."""

    boxes: Boxes
    sharded: bool


def describe(tensor: Tensor, shard: LocalShard | None, check: Callable[[Tensor], None] = check_tensor) -> Described:
    """Where a tensor lies, and that it can be filled.

    Raises ``TypeError`` or ``ValueError`` for what is no dense tensor with memory of its own, of a dtype that can be filled
    (or what ``check`` asks for in place of that), and for a shard that does not fit, or with a DTensor.
    """
    check(tensor)
    boxes = boxes_of(tensor, shard)
    if not torch.compiler.is_compiling():
        for view, _ in boxes:
            check_memory(view)
    return Described(boxes, dtensor.is_dtensor(tensor))


def boxes_of(tensor: Tensor, shard: LocalShard | None) -> Boxes:
    """The plain tensors that make up a tensor on this rank, each with its place."""
    if dtensor.is_dtensor(tensor):
        if shard is not None:
            raise ValueError("shard: expected none with a DTensor, whose placements say where it lies")
        return dtensor.local_fills(tensor)
    if not tensor.is_contiguous() and overlaps(tuple(tensor.shape), tensor.stride()):
        raise ValueError(
            f"tensor: expected one memory location an element, got shape {tuple(tensor.shape)} with strides "
            f"{tensor.stride()}; fill the tensor before it is expanded"
        )
    if shard is None:
        return [(tensor, LocalShard.whole(tuple(tensor.shape)))]
    if not isinstance(shard, LocalShard):
        raise TypeError(f"shard: expected a fastinit.LocalShard, got {shard!r}")
    shard.check_holds(tuple(tensor.shape))
    return [(tensor, shard)]
