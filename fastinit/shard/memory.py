"""Which of many strided tensors share memory. Addresses and strides alone: nothing is read, so it may be on any device."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastinit.shard.geometry import Shape

_FEW = 16  # tensors, of which every two are compared at once
_MIDDLE = 2**60  # of the addresses that numpy can count
_WORK = 10_000  # steps that numpy may take for two tensors; a few dozen do for views that torch makes


class Strided(NamedTuple):
    """What tensors of one layout have in common: all but the address. Strides and the size of an element are bytes."""

    shape: Shape
    strides: Shape
    itemsize: int

    @property
    def span(self) -> int:
        """Bytes from the first element to the end of the last."""
        if 0 in self.shape:
            return 0
        return self.itemsize + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))

    def run_within(self, modulus: int) -> int:
        """Bytes from the first element to the end of the last, where steps of multiples of the modulus do not count."""
        steps = zip(self.shape, self.strides, strict=True)
        return self.itemsize + sum((size - 1) * stride for size, stride in steps if stride % modulus)


def shared(
    addresses: NDArray[np.int64],
    layouts: Sequence[Strided],
    layout: NDArray[np.int64],
    written: NDArray[np.bool_] | None = None,
) -> tuple[int, int] | None:
    """Two tensors with a byte in common, by position, the earlier first; None when there are none.

    >>> rows = Strided((4, 2), (16, 4), 4)  # the left and the right half of a (4, 4) matrix in fp32
    >>> [shared(np.array([0, gap]), [rows], np.array([0, 0])) for gap in (8, 4)]
    [None, (0, 1)]

    ``layouts[layout[k]]`` is the k-th tensor's. Two of which neither is ``written`` may share; without it none may. Exact
    but for interleavings that no torch operation makes, which count as shared. Tensors that lie behind one another cost
    a sort; those that interleave are told apart by their columns.
    """
    written = np.ones(len(addresses), np.bool_) if written is None else written
    spans = np.array([known.span for known in layouts], np.int64)[layout]
    for cluster in _apart(addresses, spans, np.flatnonzero(spans)):
        found = _within(cluster, addresses, layouts, layout, written)
        if found is not None:
            return found
    return None


def _apart(starts: NDArray[np.int64], lengths: NDArray[np.int64], of: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Of some intervals, those that hang together and are more than one, by position."""
    order = of[np.argsort(starts[of], kind="stable")]
    first = starts[order]
    reach = np.maximum.accumulate(first + lengths[order])
    cuts = np.flatnonzero(first[1:] >= reach[:-1]) + 1
    if len(cuts) + 1 >= len(order):
        return
    ends = np.concatenate(([0], cuts, [len(order)]))
    for k in np.flatnonzero(np.diff(ends) > 1):
        yield order[ends[k] : ends[k + 1]]


def _within(
    cluster: NDArray[np.int64],
    addresses: NDArray[np.int64],
    layouts: Sequence[Strided],
    layout: NDArray[np.int64],
    written: NDArray[np.bool_],
) -> tuple[int, int] | None:
    """The same for tensors whose ranges of addresses hang together."""
    if not written[cluster].any():
        return None
    if len(cluster) > _FEW:
        for parts in _by_columns(cluster, addresses, layouts, layout):
            found = (_within(part, addresses, layouts, layout, written) for part in parts)
            return next((pair for pair in found if pair is not None), None)
    for one, other in combinations(np.sort(cluster).tolist(), 2):
        gap = int(addresses[other] - addresses[one])
        if (written[one] or written[other]) and _meet(gap, layouts[layout[one]], layouts[layout[other]]):
            return one, other
    return None


def _by_columns(
    cluster: NDArray[np.int64], addresses: NDArray[np.int64], layouts: Sequence[Strided], layout: NDArray[np.int64]
) -> Iterator[list[NDArray[np.int64]]]:
    """For each pitch by which the tensors fall into columns that have no byte in common: those of one column together.

    Addresses that never agree modulo a pitch belong to different bytes. Columns are counted from the first tensor; a run
    that goes past the end of a line would come back at its beginning, so with one there is no telling by that pitch.
    """
    kinds, kind = np.unique(layout[cluster], return_inverse=True)
    present = [layouts[k] for k in kinds]
    offsets = addresses[cluster] - addresses[cluster].min()
    for pitch in sorted({stride for known in present for stride in known.strides if stride}):
        runs = np.array([known.run_within(pitch) for known in present], np.int64)[kind]
        columns = offsets % pitch
        if (columns + runs <= pitch).all():
            parts = list(_apart(columns, runs, np.arange(len(cluster))))
            if not parts or len(parts[0]) < len(cluster):
                yield [cluster[part] for part in parts]


def strided_of(shape: Shape, strides: Shape, itemsize: int) -> Strided:
    """How a tensor lies, from its strides in elements. Where a dimension has but one, any stride is as good as another."""
    steps = zip(shape, strides, strict=True)
    return Strided(tuple(shape), tuple(itemsize * stride if size > 1 else 0 for size, stride in steps), itemsize)


@lru_cache(maxsize=4096)  # a list has many pairs of halves, say, and they all lie alike
def _meet(gap: int, one: Strided, other: Strided) -> bool:
    """Whether two tensors, the second so many bytes behind the first, share a byte."""
    first, second = _array(_MIDDLE, one), _array(_MIDDLE + gap, other)
    return np.may_share_memory(first, second, max_work=_WORK)  # type: ignore[arg-type]  # the stubs know two numbers


class _Address:
    """What numpy asks of an object that has memory."""

    def __init__(self, address: int, strided: Strided) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (address, True),
            "typestr": f"|V{strided.itemsize}",
            "shape": strided.shape,
            "strides": strided.strides,
        }


def _array(address: int, strided: Strided) -> NDArray[np.void]:
    """An array that stands for the tensor, and is never read."""
    return np.asarray(_Address(address, strided))
