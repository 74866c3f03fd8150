"""Worlds for the property tests of the shard geometry, and the law that must hold of them.

Everything shrinks to a mesh of one rank, replicas, and tensors of a few elements.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
from hypothesis import strategies as st

from fastinit.shard.placements import Box, Layout, Split, layouts

Shape = tuple[int, ...]


@dataclass(frozen=True)
class World:
    """A global tensor on a device mesh."""

    global_shape: Shape
    mesh_shape: Shape
    splits: tuple[Split | None, ...]

    def coordinates(self) -> Iterator[Shape]:
        return product(*map(range, self.mesh_shape))

    def readings(self, coordinate: Shape) -> tuple[Layout, ...]:
        """Without the cache, which would fill with 16 384 ranks."""
        return layouts.__wrapped__(self.global_shape, self.mesh_shape, coordinate, self.splits)

    def replicas(self) -> dict[Shape, list[Shape]]:
        """The coordinates that together hold one copy of the tensor, by their place on the replicated dimensions."""
        groups: dict[Shape, list[Shape]] = {}
        for coordinate in self.coordinates():
            replica = tuple(place for place, split in zip(coordinate, self.splits, strict=True) if split is None)
            groups.setdefault(replica, []).append(coordinate)
        return groups


def times_covered(shape: Shape, boxes: Iterable[tuple[Shape, Shape]]) -> set[int]:
    """How often elements of the tensor lie in the boxes (first element, shape): {1} when they tile it.

    Exact for a tensor of any size: between neighbouring borders all elements are alike, so one cell stands for them.
    """
    boxes = list(boxes)
    borders = [
        np.unique([0, size, *(edge for offset, box in boxes for edge in (offset[d], offset[d] + box[d]))])
        for d, size in enumerate(shape)
    ]
    assert all(cuts[0] == 0 and cuts[-1] == size for cuts, size in zip(borders, shape, strict=True)), (
        "box out of bounds"
    )
    counts = np.zeros([len(cuts) - 1 for cuts in borders], dtype=np.int64)
    for offset, box in boxes:
        cells = [
            slice(*np.searchsorted(cuts, (first, first + length)))
            for cuts, first, length in zip(borders, offset, box, strict=True)
        ]
        counts[tuple(cells)] += 1
    return set(counts.ravel().tolist())


def place(box: Box) -> tuple[Shape, Shape]:
    return box.shard.global_offset, box.shape


sizes = st.one_of(st.integers(1, 12), st.just(0))


@st.composite
def worlds(draw: st.DrawFn, ranks: int = 64, size: st.SearchStrategy[int] = sizes, strided: bool = True) -> World:
    mesh_shape: list[int] = []
    for _ in range(draw(st.integers(1, 4))):
        mesh_shape.append(draw(st.integers(1, max(1, ranks // prod(mesh_shape)))))
    global_shape = draw(st.lists(size, max_size=4))
    splits: list[Split | None] = []
    for _ in mesh_shape:
        factor = draw(st.integers(1, 6)) if strided else 1
        dim = draw(st.none() | st.integers(0, len(global_shape) - 1)) if global_shape else None
        splits.append(None if dim is None else Split(dim, factor))
    return World(tuple(global_shape), tuple(mesh_shape), tuple(splits))
