"""Fill and Fills: all that a backend is told about one fill of one plain tensor, or about those of a list."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastinit.law.distributions import Distribution
from fastinit.law.lowered import Lowered
from fastinit.law.lowering import lower
from fastinit.shard.geometry import LocalShard, Shape, coordinates
from fastinit.stream import Key


@dataclass(frozen=True, slots=True)
class Fill:
    """A law, a key, and the box of the logical global tensor that the tensor at hand is.

    Every backend's ``fill_(tensor, fill)`` writes to each element of ``tensor`` (any strides, at least one element)
    the value that the contract gives to the element's global index.
    """

    distribution: Distribution
    key: Key
    shard: LocalShard

    @property
    def lowered(self) -> Lowered:
        """The kernel constants of the law."""
        return lower(self.distribution)


class Place(NamedTuple):
    """What many tensors of a list have in common: the geometry of a fill, but for the first element's global index."""

    shape: Shape
    strides: Shape
    dtype: str  # torch's name for it
    global_shape: Shape


@dataclass(frozen=True, slots=True, eq=False)
class Fills:
    """Fills of many tensors, as columns with an entry a tensor. A list of thousands has but a few places and laws.

    Every backend's ``fill_many_(tensors, fills)`` writes to the k-th tensor what its ``fill_(tensor, fills.one(k))``
    does; all tensors are on one device.
    """

    places: Sequence[Place]
    distributions: Sequence[Distribution]
    place: NDArray[np.int64]  # which of ``places``
    distribution: NDArray[np.int64]  # which of ``distributions``
    first_index: NDArray[np.uint64]
    seed: NDArray[np.uint64]
    stream: NDArray[np.uint64]

    def one(self, k: int) -> Fill:
        """The fill of the k-th tensor."""
        global_shape = self.places[self.place[k]].global_shape
        shard = LocalShard(global_shape, coordinates(int(self.first_index[k]), global_shape))
        return Fill(self.distributions[self.distribution[k]], Key(int(self.seed[k]), int(self.stream[k])), shard)

    def of(self, chosen: NDArray[np.int64]) -> "Fills":
        """Some of the fills."""
        return replace(
            self,
            place=self.place[chosen],
            distribution=self.distribution[chosen],
            first_index=self.first_index[chosen],
            seed=self.seed[chosen],
            stream=self.stream[chosen],
        )

    def rows(self, pieces: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """A table of the pieces (one array a place) of every tensor, and the tensor that each row belongs to.

        The rows of a tensor follow each other. Their ``first_index`` becomes the tensor's own, their seed and stream too.
        """
        sizes = np.array([len(part) for part in pieces])
        counts = sizes[self.place]
        tensor = np.repeat(np.arange(len(counts)), counts)
        ends = np.cumsum(counts)
        within = np.arange(len(tensor)) - np.repeat(ends - counts, counts)
        rows = np.concatenate(pieces)[(np.cumsum(sizes) - sizes)[self.place[tensor]] + within]
        rows["first_index"] += self.first_index[tensor]
        rows["seed"], rows["stream"] = self.seed[tensor], self.stream[tensor]
        return rows, tensor
