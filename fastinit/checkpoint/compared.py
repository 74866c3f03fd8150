"""Tensors of files compared with what they are to be, bit for bit, a part at a time."""

from dataclasses import dataclass
from math import prod

import torch

from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.files import problem_text
from fastinit.checkpoint.parts import Sample
from fastinit.checkpoint.reading import Reader
from fastinit.shard.bits import bits_of

DERIVED = "is derived, which no law describes: --against SOURCE compares it with its source"
_CHUNK, _SAMPLED = 2**24, 2**18  # bytes that are regenerated at a time: of all, and of a sample


@dataclass(frozen=True, slots=True)
class Compared:
    """How many elements were looked at, how many are other ones, and the index of the first of these; or the ``problem``
    that kept them from being looked at.
    """

    name: str
    elements: int = 0
    differing: int = 0
    first: int = -1
    problem: str = ""

    @property
    def text(self) -> str:
        """What is wrong, in words; nothing if all bits are the same."""
        if self.problem or not self.differing:
            return self.problem
        return f"{self.differing:,} elements differ, the first at index {self.first}"


def compared(reader: Reader, name: str, contents: Contents, sample: Sample | None = None) -> Compared:
    """A tensor of a reader compared with the one of this name that the contents have, in the reader's dtype."""
    try:
        shape, dtype = reader.shape(name), reader.dtype(name)
    except (OSError, ValueError) as error:
        return Compared(name, problem=_reason(error))
    if shape != contents.shape(name):
        return Compared(name, problem=f"has the shape {shape}, expected {contents.shape(name)}")
    entry = contents.entries[name]
    if not entry.tiles and entry.computed is None:
        return Compared(name, problem=DERIVED)
    try:
        return _compared(reader, name, contents, sample, dtype)
    except (OSError, ValueError) as error:
        return Compared(name, problem=f"cannot be read: {_reason(error)}")


def _compared(reader: Reader, name: str, contents: Contents, sample: Sample | None, dtype: torch.dtype) -> Compared:
    looked_at = wrong = 0
    first = -1
    shape = contents.shape(name)
    # Made once: the system's allocator would not find the memory of the part before again.
    buffers = torch.empty(2, 0, dtype=dtype)
    for place, part in contents.chosen(name, _CHUNK if sample is None else _SAMPLED, sample, dtype):
        size = prod(part)
        if size > buffers.shape[1]:
            buffers = torch.empty(2, size, dtype=dtype)
        stored, again = (buffer[:size].view(part) for buffer in buffers)
        reader.read_(name, stored, place)
        contents.fill_(name, again, place)
        different = (bits_of(stored) != bits_of(again)).flatten()
        count = int(different.count_nonzero())
        if count and first < 0:
            begin = sum(o * prod(shape[d + 1 :]) for d, o in enumerate(place.global_offset))
            first = begin + int(different.nonzero()[0])
        wrong += count
        looked_at += stored.numel()
    return Compared(name, looked_at, wrong, first)


def _reason(error: OSError | ValueError) -> str:
    return problem_text(error) if isinstance(error, OSError) else str(error)
