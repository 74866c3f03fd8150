"""Integer arithmetic on tuples: where a local tensor lies in the logical global tensor. No torch.

Every tensor dimension of size ``n`` runs over ``range(n)``; the global index of an element is its row-major index in
``global_shape``, a Python integer of any size below 2**64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from operator import index

Shape = tuple[int, ...]


def row_major_strides(shape: Shape) -> Shape:
    """Elements between neighbours along each dimension of a dense row-major tensor.

    >>> row_major_strides((4, 3, 2))
    (6, 2, 1)
    """
    return tuple(prod(shape[d + 1 :]) for d in range(len(shape)))


def coordinates(index: int, shape: Shape) -> Shape:
    """The position of an element along each dimension, from its row-major index.

    >>> coordinates(17, (4, 3, 2))
    (2, 2, 1)
    """
    found = []
    for size in reversed(shape):
        index, position = divmod(index, size)
        found.append(position)
    return tuple(reversed(found))


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
    # index() turns a symbolic size of torch.compile into an int.
    for stride, size in sorted((abs(index(t)), index(n)) for t, n in zip(strides, shape, strict=True) if n > 1):
        if stride <= span:
            return True
        span += stride * (size - 1)
    return False


def _integers(name: str, given: Shape) -> Shape:
    try:
        return tuple(index(n) for n in given)
    except TypeError:
        raise TypeError(f"{name}: expected a tuple of whole numbers, got {given!r}") from None


def _parts(given: Mapping[int, tuple[int, int]]) -> list[tuple[int, int, int]]:
    try:
        return [(index(dim), index(place), index(number)) for dim, (place, number) in given.items()]
    except (AttributeError, TypeError, ValueError):
        raise TypeError(
            f"parts: expected {{dimension: (index, number of parts)}} in whole numbers, got {given!r}"
        ) from None


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
        object.__setattr__(self, "global_shape", _integers("global_shape", self.global_shape))
        object.__setattr__(self, "global_offset", _integers("global_offset", self.global_offset))
        if len(self.global_shape) != len(self.global_offset):
            raise ValueError(
                f"shard: expected as many offsets as dimensions, got global_shape {self.global_shape} "
                f"and global_offset {self.global_offset}"
            )
        if min(self.global_shape + self.global_offset, default=0) < 0:
            raise ValueError(f"shard: expected sizes and offsets >= 0, got {self}")
        if max(prod(self.global_shape), *self.global_shape, 0) >= 2**64:
            raise ValueError(f"shard: expected fewer than 2**64 elements, got global_shape {self.global_shape}")

    @classmethod
    def whole(cls, shape: Shape) -> "LocalShard":
        """The box that is all of a tensor of this shape.

        >>> LocalShard.whole((4096, 1024))
        LocalShard(global_shape=(4096, 1024), global_offset=(0, 0))
        """
        return cls(tuple(shape), (0,) * len(shape))

    @classmethod
    def split(cls, global_shape: Shape, parts: Mapping[int, tuple[int, int]]) -> "LocalShard":
        """The box of a rank where dimensions are split into equal parts: ``parts[dim]`` is (index, number of parts).

        >>> LocalShard.split((64, 2048, 1024), {0: (3, 8), 1: (1, 2)})  # of experts 24 to 31 the second half
        LocalShard(global_shape=(64, 2048, 1024), global_offset=(24, 1024, 0))

        Raises ``ValueError`` for a dimension that there is not, an index that is not in ``range(number of parts)``,
        and a size that is no multiple of the number of parts.
        """
        global_shape = _integers("global_shape", global_shape)
        offset = [0] * len(global_shape)
        for dim, place, number in _parts(parts):
            if not 0 <= dim < len(global_shape):
                raise ValueError(f"parts: expected a dimension in range({len(global_shape)}), got {dim}")
            if not 0 <= place < number:
                raise ValueError(f"parts: expected an index in range({number}) for dimension {dim}, got {place}")
            if global_shape[dim] % number:
                raise ValueError(
                    f"parts: expected a size that {number} divides in dimension {dim}, got global_shape {global_shape}"
                )
            offset[dim] = global_shape[dim] // number * place
        return cls(global_shape, tuple(offset))

    @classmethod
    def column_parallel(cls, global_shape: Shape, rank: int, size: int) -> "LocalShard":
        """Of the weight (out, in) of a column-parallel linear layer, or its bias (out,): the outputs of one rank.

        >>> LocalShard.column_parallel((4096, 1024), rank=3, size=8)
        LocalShard(global_shape=(4096, 1024), global_offset=(1536, 0))

        Where one weight (2 * hidden, in) holds a gate above an up projection, a rank has a part of each and fills both:

            gate, up = weight.chunk(2)
            LocalShard.split((2 * hidden, in), {0: (rank, 2 * size)})  # for gate
            LocalShard.split((2 * hidden, in), {0: (size + rank, 2 * size)})  # for up
        """
        return cls.split(global_shape, {0: (rank, size)})

    @classmethod
    def row_parallel(cls, global_shape: Shape, rank: int, size: int) -> "LocalShard":
        """Of the weight (out, in) of a row-parallel linear layer: the inputs of one rank. (Its bias is whole.)

        >>> LocalShard.row_parallel((1024, 4096), rank=3, size=8)
        LocalShard(global_shape=(1024, 4096), global_offset=(0, 1536))
        """
        return cls.split(global_shape, {1: (rank, size)})

    @classmethod
    def expert_parallel(cls, global_shape: Shape, rank: int, size: int) -> "LocalShard":
        """Of a bank of experts (experts, rows, columns), or (experts * rows, columns): the experts of one rank.

        >>> LocalShard.expert_parallel((64, 2048, 1024), rank=1, size=4)
        LocalShard(global_shape=(64, 2048, 1024), global_offset=(16, 0, 0))

        A framework with a tensor for each expert fills expert ``e`` as a bank of one: offset ``(e, 0, 0)``.
        """
        return cls.split(global_shape, {0: (rank, size)})

    @classmethod
    def vocab_parallel(cls, vocab: int, hidden: int, rank: int, size: int, *, multiple: int = 128) -> "LocalShard":
        """Of an embedding or output weight (vocab, hidden): the rows of one rank, padded as Megatron pads them.

        >>> LocalShard.vocab_parallel(50257, 1024, rank=1, size=4)  # padded to 50688, a multiple of 128 * 4
        LocalShard(global_shape=(50688, 1024), global_offset=(12672, 0))

        Padding changes no other value: the number of rows does not enter the index of an element. A vocabulary that is
        not padded is a ``column_parallel`` weight.
        """
        vocab, size, multiple = _integers("vocab, size, multiple", (vocab, size, multiple))
        if vocab < 0 or size < 1 or multiple < 1:
            raise ValueError(
                f"vocab, size, multiple: expected numbers >= 0, 1 and 1, got {vocab}, {size} and {multiple}"
            )
        padded = -(-vocab // (multiple * size)) * multiple * size
        return cls.split((padded, hidden), {0: (rank, size)})

    def check_holds(self, shape: Shape) -> None:
        """Raise ``ValueError`` unless a tensor of ``shape`` fits in the global shape at the offset.

        >>> LocalShard((4, 8), (2, 0)).check_holds((2, 8))
        """
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
        """The box whose first element lies ``by`` further along ``dim``.

        >>> LocalShard((4, 8), (2, 0)).shifted(1, 4)
        LocalShard(global_shape=(4, 8), global_offset=(2, 4))
        """
        offset = list(self.global_offset)
        offset[dim] += by
        return LocalShard(self.global_shape, tuple(offset))

    @property
    def first_index(self) -> int:
        """Global row-major index of the box's first element.

        >>> LocalShard((4, 8), (2, 1)).first_index
        17
        """
        return sum(o * s for o, s in zip(self.global_offset, row_major_strides(self.global_shape), strict=True))
