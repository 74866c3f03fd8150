"""Integer arithmetic on tuples: where a local tensor lies in the logical global tensor. No torch.

Every tensor dimension of size ``n`` runs over ``range(n)``; the global index of an element is its row-major index in
``global_shape``, a Python integer of any size below 2**64.
"""

from dataclasses import dataclass
from math import prod

Shape = tuple[int, ...]


def row_major_strides(shape: Shape) -> Shape:
    """Elements between neighbours along each dimension of a dense row-major tensor.

    >>> row_major_strides((4, 3, 2))
    (6, 2, 1)
    """
    return tuple(prod(shape[d + 1 :]) for d in range(len(shape)))


def is_one_run(shape: Shape, global_shape: Shape) -> bool:
    """Whether a box of ``shape`` holds consecutive global indices: behind its first long dimension, all are whole.

    >>> is_one_run((1, 3, 8), (4, 5, 8)), is_one_run((2, 3, 8), (4, 5, 8))
    (True, False)
    """
    first_long = next((d for d, size in enumerate(shape) if size > 1), len(shape))
    return tuple(shape[first_long + 1 :]) == tuple(global_shape[first_long + 1 :])


def overlaps(shape: Shape, strides: Shape) -> bool:
    """Whether two elements of a strided tensor may share a memory location.

    >>> overlaps((3, 4), (4, 1)), overlaps((3, 4), (0, 1)), overlaps((2, 3), (1, 1))
    (False, True, True)

    Exact but for interleavings that no torch operation makes (their strides are no multiples of one another), for which
    the answer is True.
    """
    if 0 in shape:
        return False
    span = 0  # the largest offset that the dimensions seen so far reach
    for stride, size in sorted((abs(stride), size) for stride, size in zip(strides, shape, strict=True) if size > 1):
        if stride <= span:
            return True
        span += stride * (size - 1)
    return False


@dataclass(frozen=True, slots=True)
class LocalShard:
    """The box of a larger logical tensor that a plain tensor holds.

    >>> LocalShard(global_shape=(64, 2048, 1024), global_offset=(16, 0, 0))  # experts 16 and following
    LocalShard(global_shape=(64, 2048, 1024), global_offset=(16, 0, 0))

    The box has the shape of the tensor that it goes with; ``global_offset`` is the global index, per dimension, of the
    tensor's first element. Raises ``ValueError`` when the two differ in length, a size or an offset is negative, or the
    logical tensor has 2**64 elements or more.
    """

    global_shape: Shape
    global_offset: Shape

    def __post_init__(self) -> None:
        object.__setattr__(self, "global_shape", tuple(int(n) for n in self.global_shape))
        object.__setattr__(self, "global_offset", tuple(int(n) for n in self.global_offset))
        if len(self.global_shape) != len(self.global_offset):
            raise ValueError(
                f"shard: expected as many offsets as dimensions, got global_shape {self.global_shape} "
                f"and global_offset {self.global_offset}"
            )
        if min(self.global_shape + self.global_offset, default=0) < 0:
            raise ValueError(f"shard: expected sizes and offsets >= 0, got {self}")
        if prod(self.global_shape) >= 2**64:
            raise ValueError(f"shard: expected fewer than 2**64 elements, got global_shape {self.global_shape}")

    @classmethod
    def whole(cls, shape: Shape) -> "LocalShard":
        """The box that is all of a tensor of this shape."""
        return cls(tuple(shape), (0,) * len(shape))

    def check_holds(self, shape: Shape) -> None:
        """Raise ``ValueError`` unless a tensor of ``shape`` fits in the global shape at the offset."""
        fits = len(shape) == len(self.global_shape) and all(
            offset + size <= whole
            for offset, size, whole in zip(self.global_offset, shape, self.global_shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"shard: expected a tensor that fits in global_shape {self.global_shape} at global_offset "
                f"{self.global_offset}, got one of shape {tuple(shape)}"
            )

    def shifted(self, dim: int, by: int) -> "LocalShard":
        """The box whose first element lies ``by`` further along ``dim``."""
        offset = list(self.global_offset)
        offset[dim] += by
        return LocalShard(self.global_shape, tuple(offset))

    @property
    def first_index(self) -> int:
        """Global row-major index of the box's first element."""
        return sum(o * s for o, s in zip(self.global_offset, row_major_strides(self.global_shape), strict=True))
