"""What a checkpoint holds: its index, and the shape, dtype and values of every tensor."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from fastinit.cli.index import Index
from fastinit.model.filling import fill_planned_
from fastinit.model.planned import Planned
from fastinit.shard.geometry import LocalShard, Shape

Fill = Callable[[str, Tensor, LocalShard | None], object]  # of the part of the tensor called so, or of all of it


@dataclass(frozen=True, slots=True)
class Contents:
    """``fill(name, tensor, shard)`` writes the values; ``index`` is the one to be written, or the one to be proved."""

    index: Index
    shapes: Mapping[str, Shape]
    dtype: torch.dtype
    fill: Fill

    def size(self, name: str) -> int:
        """Bytes of one tensor's elements."""
        return prod(self.shapes[name]) * self.dtype.itemsize

    @property
    def total_size(self) -> int:
        """Bytes of all elements."""
        return sum(map(self.size, self.shapes))


def contents_of(index: Index, plan: Sequence[Planned], dtype: torch.dtype) -> Contents:
    """What a plan puts into the tensors that an index names."""
    by_name = {planned.name: planned for planned in plan}
    shapes = {name: planned.global_shape for name, planned in by_name.items()}
    return Contents(index, shapes, dtype, lambda name, tensor, shard: fill_planned_(tensor, by_name[name], shard))
