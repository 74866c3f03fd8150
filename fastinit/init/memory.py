"""Boxes that torch's own operators write to, for what is no law: constants, and matrices that are made as a whole."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from fastinit.shard.described import Described
from fastinit.shard.geometry import LocalShard
from fastinit.shard.storage import is_fake, is_traced, write


def has_memory(tensor: Tensor) -> bool:
    """Whether there is something to fill, or to trace: a meta tensor and a fake one stay as they are."""
    if tensor.is_meta:
        return False
    return torch.compiler.is_compiling() or not is_fake(tensor) or is_traced()


def write_boxes(tensor: Tensor, described: Described, into: Callable[[LocalShard, Tensor], object]) -> None:
    """Have ``into(box, memory)`` write to each box of a tensor. Autograd records nothing, and sees the tensor change."""
    for view, box in described.boxes:
        write(view, partial(into, box))
    if described.sharded:
        torch.autograd.graph.increment_version(tensor)  # what was written to is the local tensor alone
