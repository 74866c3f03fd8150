"""Which nested loops fill a strided box: its dimensions, merged wherever memory and global index both run on."""

from typing import NamedTuple

Shape = tuple[int, ...]


class Axis(NamedTuple):
    """One loop: how often, and the step from one turn to the next in memory and in the global index (elements)."""

    size: int
    stride: int
    global_stride: int


def merge_axes(shape: Shape, strides: Shape, global_strides: Shape) -> list[Axis]:
    """The loops over a box, outermost first. The last one steps by 1 in the global index.

    >>> merge_axes((4, 8, 16), (128, 16, 1), (256, 16, 1))  # the first 8 of 16 rows of each of 4 experts
    [Axis(size=4, stride=128, global_stride=256), Axis(size=128, stride=1, global_stride=1)]
    """
    axes: list[Axis] = []
    for axis in map(Axis, shape, strides, global_strides):
        if axis.size == 1:
            continue
        inner = axis.size * axis.stride, axis.size * axis.global_stride
        if axes and (axes[-1].stride, axes[-1].global_stride) == inner:
            axes[-1] = Axis(axes[-1].size * axis.size, axis.stride, axis.global_stride)
        else:
            axes.append(axis)
    if not axes or axes[-1].global_stride != 1:
        axes.append(Axis(1, 1, 1))
    return axes
