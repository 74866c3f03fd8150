"""A tensor in parts that each lie in one piece, in row-major order: all of them, or a few by chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from random import Random
from typing import overload

from fastinit.shard.geometry import LocalShard, Shape, coordinates

Part = tuple[LocalShard, Shape]


class Parts(Sequence[Part]):
    """The parts of a tensor, of at most so many elements: where each lies in the tensor, and its shape.

    >>> [(place.global_offset, shape) for place, shape in Parts((2, 5, 3), 9)]
    [((0, 0, 0), (1, 3, 3)), ((0, 3, 0), (1, 2, 3)), ((1, 0, 0), (1, 3, 3)), ((1, 3, 0), (1, 2, 3))]
    """

    def __init__(self, shape: Shape, most: int) -> None:
        self._shape = shape
        # The dimension that is cut; those before it are taken one by one, and those behind are whole.
        self._dim = next((d for d in range(len(shape)) if prod(shape[d + 1 :]) <= most), len(shape))
        inner = prod(shape[self._dim + 1 :])
        size = shape[self._dim] if self._dim < len(shape) else 1
        self._step = max(1, min(size, most // max(1, inner)))
        self._cuts = -(-size // self._step)

    def __len__(self) -> int:
        return max(1, prod(self._shape[: self._dim]) * self._cuts)

    @overload
    def __getitem__(self, index: int) -> Part: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Part]: ...
    def __getitem__(self, index: int | slice) -> Part | Sequence[Part]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        shape, dim = self._shape, self._dim
        if dim == len(shape) or 0 in shape:
            return LocalShard.whole(shape), shape
        outer, cut = divmod(index, self._cuts)
        begin = cut * self._step
        offset = (*coordinates(outer, shape[:dim]), begin, *[0] * (len(shape) - dim - 1))
        return LocalShard(shape, offset), (*[1] * dim, min(self._step, shape[dim] - begin), *shape[dim + 1 :])


@dataclass(frozen=True, slots=True)
class Sample:
    """So many parts of each tensor, chosen by a seed.

    >>> [place.global_offset for place, _ in Sample(count=2, seed=0).of("w", (1000,), most=10)]
    [(690,), (800,)]
    """

    count: int
    seed: int

    def of(self, name: str, shape: Shape, most: int) -> Sequence[Part]:
        """The chosen parts of a tensor, in order; all, where it has no more."""
        parts = Parts(shape, most)
        if len(parts) <= self.count:
            return parts
        return [parts[k] for k in sorted(Random(f"{self.seed} {name}").sample(range(len(parts)), self.count))]


def chosen(sample: Sample | None, name: str, shape: Shape, most: int) -> Sequence[Part]:
    """All parts of a tensor, of at most so many elements, or those of a sample."""
    return Parts(shape, most) if sample is None else sample.of(name, shape, most)
