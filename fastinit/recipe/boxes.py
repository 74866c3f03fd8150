"""Boxes of a tensor: which of them a strided view is, and what is left of some where others lie on top. No torch.

A box is an interval in each dimension of the tensor. Views that torch makes are one box, or a few: a row, a chunk, a transposed
or a flattened tensor, every second column.
"""

from collections.abc import Hashable, Iterable, Sequence
from math import prod
from typing import NamedTuple, TypeVar

from fastinit.shard.geometry import Shape, overlaps, row_major_strides

Run = tuple[int, int]  # of a view, from the outside in: a size and a stride
What = TypeVar("What", bound=Hashable)

# Boxes that a view may fall into. With more the parameter is computed as a whole, on each rank, with the numbers that it would have
# by boxes; reports call it derived.
MOST = 4096


class Box(NamedTuple):
    """The elements ``offset[d] <= index[d] < offset[d] + shape[d]`` of a tensor."""

    offset: Shape
    shape: Shape

    @classmethod
    def whole(cls, shape: Shape) -> "Box":
        """All of a tensor."""
        return cls((0,) * len(shape), tuple(shape))

    @property
    def numel(self) -> int:
        """How many elements it has."""
        return prod(self.shape)

    def meet(self, other: "Box") -> "Box | None":
        """The elements that two boxes have in common; None where there are none.

        >>> Box((0, 0), (4, 8)).meet(Box((2, 4), (4, 8)))
        Box(offset=(2, 4), shape=(2, 4))
        """
        starts = tuple(map(max, self.offset, other.offset))
        ends = (min(a + n, b + m) for a, n, b, m in zip(*self, *other, strict=True))
        shape = tuple(end - start for start, end in zip(starts, ends, strict=True))
        return Box(starts, shape) if min(shape, default=1) > 0 else None

    def without(self, other: "Box") -> list["Box"]:
        """What is left of it outside of another one, as boxes that have nothing in common.

        >>> Box((0, 0), (4, 8)).without(Box((1, 0), (1, 8)))
        [Box(offset=(0, 0), shape=(1, 8)), Box(offset=(2, 0), shape=(2, 8))]
        """
        common = self.meet(other)
        if common is None:
            return [self]
        left: list[Box] = []
        offset, shape = list(self.offset), list(self.shape)
        for d, (start, size) in enumerate(zip(*common, strict=True)):
            end, last = start + size, offset[d] + shape[d]
            for first, behind in ((offset[d], start), (end, last)):
                if first < behind:
                    left.append(
                        Box((*offset[:d], first, *offset[d + 1 :]), (*shape[:d], behind - first, *shape[d + 1 :]))
                    )
            offset[d], shape[d] = start, size
        return left


def overlap(boxes: Iterable[Box]) -> bool:
    """Whether two of them have elements in common.

    >>> overlap([Box((0,), (3,)), Box((5,), (2,)), Box((2,), (2,))])
    True
    """
    ordered = sorted(box for box in boxes if box.numel)
    for k, box in enumerate(ordered):
        for other in ordered[k + 1 :]:
            if box.shape and other.offset[0] >= box.offset[0] + box.shape[0]:
                break  # nor do those behind
            if box.meet(other) is not None:
                return True
    return False


class View(NamedTuple):
    """Where the elements of a tensor lie in its storage: all three in elements, as torch has them."""

    offset: int
    shape: Shape
    strides: Shape

    @classmethod
    def dense(cls, shape: Shape) -> "View":
        """A row-major tensor that fills its storage."""
        return cls(0, tuple(shape), row_major_strides(shape))

    @property
    def numel(self) -> int:
        """How many elements it has."""
        return prod(self.shape)

    @property
    def end(self) -> int:
        """One past the last place in the storage."""
        if 0 in self.shape:
            return self.offset
        return self.offset + 1 + sum((n - 1) * t for n, t in zip(self.shape, self.strides, strict=True))

    def fills(self, size: int) -> bool:
        """Whether it is each of the first ``size`` elements of the storage, once."""
        return self.numel == size and self.end <= size and not overlaps(self.shape, self.strides)

    def distinct(self) -> "View":
        """The same without what is expanded: each place once."""
        return self._replace(shape=tuple(n if t else min(n, 1) for n, t in zip(self.shape, self.strides, strict=True)))

    def runs(self) -> list[Run]:
        """Its dimensions from the outside in; sizes of 1 are none."""
        steps = sorted(((t, n) for n, t in zip(self.shape, self.strides, strict=True) if n > 1), reverse=True)
        return [(size, stride) for stride, size in steps]


def boxes_of(view: View, tensor: View) -> list[Box] | None:
    """The boxes of a tensor that a view of the same storage is; None where it goes past it, or falls into too many.

    >>> weight = View.dense((8, 4))
    >>> boxes_of(View(8, (2, 4), (4, 1)), weight), boxes_of(View(0, (4, 8), (1, 4)), weight)  # two rows, weight.t()
    ([Box(offset=(2, 0), shape=(2, 4))], [Box(offset=(0, 0), shape=(8, 4))])
    >>> boxes_of(View(0, (8, 2), (4, 2)), weight)  # weight[:, ::2]
    [Box(offset=(0, 0), shape=(8, 1)), Box(offset=(0, 2), shape=(8, 1))]
    """
    if view.numel == 0:
        return []
    found: list[Box] = []
    waiting = [(view.offset - tensor.offset, view.runs())]
    while waiting:
        offset, runs = waiting.pop()
        box = _box(offset, runs, tensor)
        if isinstance(box, Box):
            found.append(box)
        elif box is None or runs[box][0] + len(found) + len(waiting) > MOST:
            return None
        else:  # one box for each step of the run that does not fit
            size, stride = runs.pop(box)
            waiting += [(offset + k * stride, list(runs)) for k in reversed(range(size))]
    return found


def _box(offset: int, runs: Sequence[Run], tensor: View) -> Box | int | None:
    """The one box that some runs are, or which of them does not fit; None where they begin outside of the tensor."""
    dims = sorted((d for d, n in enumerate(tensor.shape) if n > 1), key=lambda d: -tensor.strides[d])
    start, shape = [0] * len(tensor.shape), [1] * len(tensor.shape)
    for d in dims:
        start[d], offset = divmod(offset, tensor.strides[d])
        if not 0 <= start[d] < tensor.shape[d]:
            return None
    if offset:
        return None
    for k, (size, stride) in reversed(list(enumerate(runs))):
        for d in reversed(dims):
            room = (tensor.shape[d] - start[d]) // shape[d]
            if size == 1 or stride != tensor.strides[d] * shape[d]:
                continue
            if size > room and (start[d] or size % room or tensor.shape[d] % shape[d]):
                break
            taken = min(size, room)
            shape[d], size, stride = shape[d] * taken, size // taken, stride * taken
        if size > 1:
            return k
    return Box(tuple(start), tuple(shape))


def visible(painted: Iterable[tuple[Box, What]]) -> list[tuple[Box, What]]:
    """What is to be seen of boxes that were painted one over another: boxes that have nothing in common.

    >>> visible([(Box((0,), (8,)), "normal"), (Box((2,), (1,)), "zero")])
    [(Box(offset=(0,), shape=(2,)), 'normal'), (Box(offset=(2,), shape=(1,)), 'zero'), (Box(offset=(3,), shape=(5,)), 'normal')]

    Neighbours of one colour are one box, as far as that is a box.
    """
    seen: list[tuple[Box, What]] = []
    covers: list[Box] = []
    for box, what in reversed(list(painted)):
        left = [box]
        for cover in covers:
            left = [part for piece in left for part in piece.without(cover)]
            if not left:
                break
        seen += [(piece, what) for piece in left]
        covers = [cover for cover, _ in merged([(cover, None) for cover in (*covers, box)])]
    return sorted(merged(seen), key=lambda part: part[0].offset)


def merged(parts: Sequence[tuple[Box, What]]) -> list[tuple[Box, What]]:
    """The same with neighbours of one colour put together, dimension by dimension, from the last to the first.

    >>> merged([(Box((k, 0), (1, 8)), "normal") for k in range(64)])
    [(Box(offset=(0, 0), shape=(64, 8)), 'normal')]
    """
    parts = list(parts)
    for d in reversed(range(len(parts[0][0].shape)) if len(parts) > 1 else ()):
        rows: dict[Hashable, list[tuple[int, int, What]]] = {}
        for (offset, shape), what in parts:
            others = offset[:d], offset[d + 1 :], shape[:d], shape[d + 1 :]
            rows.setdefault((others, what), []).append((offset[d], shape[d], what))
        parts = []
        for (others, _), row in rows.items():  # type: ignore[misc]  # as they were put in
            before, behind, sizes, last = others
            row.sort(key=lambda piece: piece[0])
            joined = [row[0]]
            for start, size, what in row[1:]:
                first, length, _ = joined[-1]
                if first + length == start:
                    joined[-1] = first, length + size, what
                else:
                    joined.append((start, size, what))
            parts += [(Box((*before, s, *behind), (*sizes, n, *last)), what) for s, n, what in joined]
    return parts
