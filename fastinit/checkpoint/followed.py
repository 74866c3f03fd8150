"""What a framework does to its tensors on their way to a checkpoint, followed element by element, on the meta device."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from fastinit.checkpoint.layout import NO_LAW, Cut, Laid
from fastinit.recipe.boxes import MOST, Box, View
from fastinit.recipe.hooks import recording
from fastinit.recipe.pieces import Piece, pieces_of
from fastinit.recipe.storages import Storages
from fastinit.recipe.tape import Tape
from fastinit.recipe.values import Drawn, Leaf, Read, Value
from fastinit.shard.geometry import LocalShard, Shape, coordinates, row_major_strides


class Marks:
    """Live tensors whose elements are followed through what a framework does on its way to a checkpoint.

    Each is marked as drawn, so that the tape of a recipe tells where its elements have gone. What is done within ``following`` is
    followed, for tensors that ``laid`` is asked for afterwards.
    """

    def __init__(self, live: Mapping[str, Tensor]) -> None:
        self._storages = _Copied()
        self._names: dict[Leaf, str] = {}
        for order, (name, tensor) in enumerate(live.items()):
            leaf = Leaf(NO_LAW, tuple(tensor.shape), order)
            self._names[leaf] = name
            self._storages.write(tensor, Drawn(leaf, None))

    @contextmanager
    def following(self) -> Iterator[None]:
        """Within it, what this thread does is noted, and takes no memory."""
        tape = Tape(lambda tensor, leaf: None, has_values=False)
        tape.storages = self._storages
        with recording(tape, weightless=True):
            yield

    def laid(self, tensor: Tensor) -> Laid | None:
        """What a tensor is made of; None where that is no box of live ones, or too many."""
        shape = tuple(tensor.shape)
        state, view = self._storages.state_of(tensor)
        pieces = None if state is None else pieces_of(state, view)
        cuts: list[Cut] = []
        for piece in pieces or ():
            found = self._cuts(piece)
            if found is None or len(cuts) + len(found) > MOST:
                return None
            cuts += found
        return Laid(shape, tuple(cuts)) if pieces else None

    def _cuts(self, piece: Piece) -> list[Cut] | None:
        """The boxes of a live tensor that a piece is."""
        drawn = piece.value
        if not isinstance(drawn, Drawn) or drawn.leaf not in self._names or piece.within is None:
            return None
        name, shape = self._names[drawn.leaf], drawn.leaf.shape
        cuts: list[Cut] = []
        waiting = [(piece.box, piece.within)]
        while waiting:
            box, within = waiting.pop()
            found = _followed(box.shape, within, drawn.lies, shape)
            if isinstance(found, tuple):
                offset, dims = found
                own = () if dims == tuple(range(len(box.shape))) else dims
                cuts.append(Cut(box, name, LocalShard(shape, offset), own))
            elif len(cuts) + len(waiting) > MOST:
                return None
            else:  # the box reaches past a dimension of what it is a part of
                d, size = found.dim, found.size
                waiting += [_half(box, within, d, size, box.shape[d] - size), _half(box, within, d, 0, size)]
        return cuts


class _Copied(Storages):
    """Storages in which a part of a copy of a part is one of the tensor itself, as far as each dimension lies along one of it."""

    def read(self, tensor: Tensor) -> Value:
        """What a tensor holds now."""
        found = super().read(tensor)
        if not isinstance(found, Read) or found.state.before is not None or not isinstance(found.state.value, Drawn):
            return found
        copied, view, whole = found.state.value, found.view, found.state.view
        lies = copied.lies
        if (
            whole != View(whole.offset, *View.dense(lies.shape)[1:])
            or not whole.offset <= view.offset < whole.offset + lies.numel
        ):
            return found
        first = coordinates(view.offset - whole.offset, lies.shape)
        along = _along(view.shape, view.strides, first, lies.shape)
        if isinstance(along, _Past):
            return found
        offset = lies.offset + sum(c * t for c, t in zip(first, lies.strides, strict=True))
        strides = tuple(lies.strides[along[d]] if d in along else 1 for d in range(len(view.shape)))
        return Drawn(copied.leaf, copied.law, View(offset, view.shape, strides))


@dataclass(frozen=True, slots=True)
class _Past:
    """A dimension of a box of which only that many elements lie along one of the source."""

    dim: int
    size: int


def _half(box: Box, within: View, dim: int, start: int, size: int) -> tuple[Box, View]:
    offset = tuple(o + start * (d == dim) for d, o in enumerate(box.offset))
    shape = tuple(size if d == dim else n for d, n in enumerate(box.shape))
    return Box(offset, shape), View(within.offset + start * within.strides[dim], shape, within.strides)


def _followed(sizes: Shape, within: View, lies: View, shape: Shape) -> tuple[Shape, Shape] | _Past:
    """Where a box of those sizes lies in a source, and along which dimensions: through a value of which it is a part, and back."""
    offset, strides = within.offset, within.strides
    dims: dict[int, int] = {}
    for through, back in ((lies.shape, lies), (shape, View.dense(shape))):
        first = coordinates(offset, through)
        along = _along(sizes, strides, first, through)
        if not isinstance(along, dict):
            return along
        dims = along
        offset = back.offset + sum(c * t for c, t in zip(first, back.strides, strict=True))
        strides = tuple(back.strides[along[d]] if d in along else 0 for d in range(len(sizes)))
    lying = {source: d for d, source in dims.items()}
    return coordinates(offset, shape), tuple(lying.get(d, -1) for d in range(len(shape)))


def _along(sizes: Shape, strides: Shape, first: Shape, through: Shape) -> dict[int, int] | _Past:
    """The dimension of a row-major tensor that each one of a box lies along; those of one index along none."""
    steps = row_major_strides(through)
    found: dict[int, int] = {}
    for d, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        if size == 1:
            continue
        fitting = [e for e, step in enumerate(steps) if step == stride and through[e] > 1 and e not in found.values()]
        room = through[fitting[0]] - first[fitting[0]] if fitting else 1
        if size > room:
            return _Past(d, room)
        found[d] = fitting[0]
    return found
