"""Which boxes of a global tensor a place in a device mesh holds. Integer arithmetic on tuples; no torch.

A mesh dimension that splits a tensor dimension of ``n`` elements into ``parts`` gives place ``index`` the elements
``range(index * size, (index + 1) * size)``, cut off at ``n``, with ``size = ceil(n / parts)``: torch.chunk's rule, by
which the last shards may be short or empty.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from fastinit.shard.geometry import LocalShard, Shape

Order = tuple[int, ...]
Run = tuple[int, int]  # the elements range(*run) of a dimension


class Split(NamedTuple):
    """What one mesh dimension does to the tensor: it splits dimension ``dim``.

    With a ``factor`` above 1 the dimension is first cut into that many pieces, each piece is split, and a place holds
    its part of every piece: DTensor's ``_StridedShard``.
    """

    dim: int
    factor: int = 1


class Box(NamedTuple):
    """A part of the local tensor, and where it lies in the global one."""

    local: tuple[slice, ...]
    shape: Shape
    shard: LocalShard


class Layout(NamedTuple):
    """The local tensor of one place: its shape, and the boxes that tile it (none when it is empty)."""

    shape: Shape
    boxes: tuple[Box, ...]


@lru_cache(maxsize=4096)  # a model has a few shapes; each is asked for once a layer
def layouts(
    global_shape: Shape,
    mesh_shape: Shape,
    coordinate: Shape,
    splits: tuple[Split | None, ...],
    order: Order | None = None,
) -> tuple[Layout, ...]:
    """What the place at ``coordinate`` holds of a tensor of ``global_shape``.

    >>> [layout] = layouts((10, 4), (2, 2), (0, 1), (None, Split(0)))  # replicas, each of them in two shards
    >>> layout.boxes[0].shard
    LocalShard(global_shape=(10, 4), global_offset=(5, 0))

    Args:
        splits: for each mesh dimension what it splits; ``None`` replicates.
        order: the order in which the mesh dimensions split, where it is known; else from left to right.

    Returns:
        The layout. Two layouts, the likelier first, when strided splits can be read in two ways that differ (see
        ``split_order``): the shape of the local tensor then tells which one it has.
    """
    left_to_right = _layout(global_shape, mesh_shape, coordinate, splits, order or tuple(range(len(splits))))
    decoded = None
    if any(split is not None and split.factor > 1 for split in splits):
        decoded = split_order(mesh_shape, splits)
    if decoded is None:
        return (left_to_right,)
    plain = tuple(split and Split(split.dim) for split in splits)
    by_order = _layout(global_shape, mesh_shape, coordinate, plain, decoded)
    return (by_order,) if by_order == left_to_right else (by_order, left_to_right)


def split_order(mesh_shape: Shape, splits: tuple[Split | None, ...]) -> Order | None:
    """The order of plain splits that strided ones stand for, if they stand for one.

    >>> split_order((4, 2), (Split(0, factor=2), Split(0)))  # FSDP2 over tensor parallelism, which came first
    (1, 0)

    The factor of a strided split says into how many parts mesh dimensions to its right have split the tensor dimension
    before. Split from left to right, strided, each place gets the same elements as long as all sizes divide. Where they
    do not, FSDP2 and ``full_tensor`` go by this order, and ``distribute_tensor`` goes from left to right.
    """
    order: list[int] = []
    for mesh_dim in reversed(range(len(splits))):
        split = splits[mesh_dim]
        if split is None:
            continue
        parts, position = 1, 0
        while parts != split.factor and position < len(order):
            earlier = splits[order[position]]
            if earlier is not None and earlier.dim == split.dim:
                parts *= mesh_shape[order[position]]
            position += 1
        if parts != split.factor:
            return None
        order.insert(position, mesh_dim)
    return tuple(order)


def _layout(
    global_shape: Shape, mesh_shape: Shape, coordinate: Shape, splits: tuple[Split | None, ...], order: Order
) -> Layout:
    held: list[list[Run]] = [[(0, size)] if size else [] for size in global_shape]
    for mesh_dim in order:
        split = splits[mesh_dim]
        if split is not None:
            held[split.dim] = _keep(held[split.dim], split.factor, mesh_shape[mesh_dim], coordinate[mesh_dim])
    shape = tuple(sum(stop - start for start, stop in runs) for runs in held)
    boxes = []
    for runs in product(*map(_placed, held)):
        box_shape = tuple(local.stop - local.start for local, _ in runs)
        shard = LocalShard(global_shape, tuple(offset for _, offset in runs))
        boxes.append(Box(tuple(local for local, _ in runs), box_shape, shard))
    return Layout(shape, tuple(boxes))


def _keep(runs: list[Run], factor: int, parts: int, index: int) -> list[Run]:
    """The elements that place ``index`` of ``parts`` keeps of the elements of ``runs``."""
    kept: list[Run] = []
    for piece in range(factor):
        mine = _chunk(_chunk((0, sum(stop - start for start, stop in runs)), factor, piece), parts, index)
        for start, stop in _select(runs, mine):
            if kept and kept[-1][1] == start:
                start = kept.pop()[0]
            kept.append((start, stop))
    return kept


def _chunk(run: Run, parts: int, index: int) -> Run:
    start, stop = run
    size = -(-(stop - start) // parts)
    return min(start + index * size, stop), min(start + (index + 1) * size, stop)


def _select(runs: list[Run], wanted: Run) -> Iterator[Run]:
    """The parts of ``runs`` at the places ``range(*wanted)``, counted over all of them."""
    before = 0
    for start, stop in runs:
        first = start + max(wanted[0] - before, 0)
        last = min(start + wanted[1] - before, stop)
        if first < last:
            yield first, last
        before += stop - start


def _placed(runs: list[Run]) -> list[tuple[slice, int]]:
    """For each run, where it lies in the local dimension and where it starts in the global one."""
    placed, before = [], 0
    for start, stop in runs:
        placed.append((slice(before, before + stop - start), start))
        before += stop - start
    return placed
