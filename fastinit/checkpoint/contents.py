"""What a checkpoint holds: the name, shape, dtype and values of every tensor, and what all of it was asked by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import torch
from torch import Tensor

from fastinit.checkpoint.parts import Part, Parts, Sample, chosen
from fastinit.law.transformed import Law
from fastinit.model.filling import Task, fill_tasks_, tasks_of
from fastinit.model.planned import Planned
from fastinit.model.tiles import Computed, Content, Tile, Tiled
from fastinit.recipe.entries import Entry, whole
from fastinit.shard.geometry import LocalShard, Shape
from fastinit.stream import Key

_PART = 2**23  # bytes that are filled at a time: they are still in a cache when they are written


@dataclass(frozen=True, slots=True)
class Contents:
    """The tensors of a checkpoint by the names that its readers know, in the order in which they are written.

    ``entries`` say what each is filled with: whole parameters, parts of them (tiles with another ``source``), or values that
    are computed. ``source`` is what the user asked for and ``rules`` where the laws are from, both for people. ``beside``
    are further files of the folder, as config.json.
    """

    source: str
    rules: str
    seed: int
    entries: Mapping[str, Entry]
    dtypes: Mapping[str, torch.dtype]
    beside: Mapping[str, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def shape(self, name: str) -> Shape:
        """The shape of one tensor."""
        return self.entries[name].shape

    def size(self, name: str) -> int:
        """Bytes of one tensor's elements."""
        return prod(self.shape(name)) * self.dtypes[name].itemsize

    @property
    def total_size(self) -> int:
        """Bytes of all elements."""
        return sum(map(self.size, self.entries))

    @property
    def elements(self) -> int:
        """Elements of all tensors."""
        return sum(prod(entry.shape) for entry in self.entries.values())

    def fill_(self, name: str, tensor: Tensor, shard: LocalShard | None = None) -> None:
        """Fill a tensor that stands for the one called so, or for the part of it that the shard says."""
        fill_tasks_(self._tasks(name, tensor, shard))

    def parts(self, name: str, most: int, box: Shape | None = None) -> Sequence[Part]:
        """One tensor, or a box of that shape of it, in parts that each lie in one piece, of at most so many bytes.

        One that is computed is so as a whole, and is not taken apart.
        """
        shape = self.shape(name) if box is None else box
        whole = self.entries[name].computed is not None
        return Parts(shape, max(1, prod(shape) if whole else most // self.dtypes[name].itemsize))

    def chosen(self, name: str, most: int, sample: Sample | None, dtype: torch.dtype) -> Sequence[Part]:
        """The parts of a tensor of that dtype, as ``parts`` has them, or those of a sample."""
        if self.entries[name].computed is not None:
            return self.parts(name, most)
        return chosen(sample, name, self.shape(name), most // dtype.itemsize)

    def filled(self) -> Iterator[memoryview]:
        """The bytes of all tensors, one after another, a part at a time, which is gone when the next is asked for."""
        buffer = torch.empty(0, dtype=torch.uint8, device="cpu")
        for name in self:
            dtype = self.dtypes[name]
            for place, shape in self.parts(name, _PART):
                size = prod(shape) * dtype.itemsize
                if size > buffer.numel():
                    buffer = torch.empty(size, dtype=torch.uint8, device="cpu")
                if size:
                    self.fill_(name, buffer[:size].view(dtype).view(shape), place)
                    yield memoryview(buffer[:size].numpy())  # type: ignore[arg-type]  # an array of numpy's is one

    def only(self, names: Sequence[str]) -> "Contents":
        """The same with these tensors alone, as one file of several holds them."""
        entries = {name: self.entries[name] for name in names}
        dtypes = {name: self.dtypes[name] for name in names}
        return replace(self, entries=entries, dtypes=dtypes, beside={})

    def _tasks(self, name: str, tensor: Tensor, shard: LocalShard | None) -> Iterator[Task]:
        entry = self.entries[name]
        return tasks_of(tensor, content_of(entry), Key.of(name, self.seed), shard)


def content_of(entry: Entry) -> Content | None:
    """What fills a tensor: one law where the tensor is its whole source."""
    if entry.tiles:
        return entry.tiles[0].law if whole(entry.name, entry.shape, entry.tiles[0]) else Tiled(entry.tiles)
    return entry.computed


def entry_of(planned: Planned) -> Entry:
    """The entry of a parameter as it is planned, under its own name."""
    name, shape, law = planned.name, planned.global_shape, planned.law
    if isinstance(law, Tiled):
        return Entry(name, (), shape, law.tiles)
    if isinstance(law, Computed):
        return Entry(name, (), shape, computed=law)
    if law is None:
        return Entry(name, (), shape)
    assert isinstance(law, Law)
    return Entry(name, (), shape, (Tile((0,) * len(shape), shape, law, name, LocalShard.whole(shape)),))
