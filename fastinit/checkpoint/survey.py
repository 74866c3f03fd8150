"""All tensors of a checkpoint, looked at: their statistics and digests, each tensor by a thread of two."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod

import torch

from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.parts import Sample, chosen
from fastinit.checkpoint.reading import Reader
from fastinit.checkpoint.statistics import Counted, Expected, Parts, Tally, expected, parts_of
from fastinit.recipe.boxes import Box
from fastinit.recipe.entries import Entry
from fastinit.shard.geometry import Shape

_THREADS = 2
_CHUNK, _SAMPLED = 2**20, 2**16  # elements that are read at a time: of all, and of a sample


@dataclass(frozen=True, slots=True)
class Seen:
    """A tensor that was looked at: ``words`` say its law, and ``known`` what that looks like; ``digest`` is of all its bytes."""

    name: str
    shape: Shape
    dtype: torch.dtype
    words: str
    parts: Parts | None
    known: Expected | None
    counted: Counted
    digest: str | None


def survey(
    reader: Reader, contents: Contents | None, sample: Sample | None, advance: Callable[[int], object]
) -> Iterator[Seen]:
    """Every tensor, in the reader's order; with a sample, parts of each. ``advance`` is told the bytes of each tensor.

    Raises ``ValueError`` or ``OSError`` for one that cannot be read.
    """
    pool = ThreadPoolExecutor(_THREADS)
    try:
        for seen in pool.map(lambda name: _look(reader, name, contents, sample), reader):
            advance(prod(seen.shape) * seen.dtype.itemsize)
            yield seen
    finally:
        pool.shutdown(cancel_futures=True)


def _look(reader: Reader, name: str, contents: Contents | None, sample: Sample | None) -> Seen:
    shape, dtype = reader.shape(name), reader.dtype(name)
    entry = contents.entries[name] if contents is not None and name in contents.entries else None
    if entry is not None and entry.shape != shape:
        entry = None
    counted_as = dtype if dtype.is_floating_point else torch.float64
    tally, digest = Tally(counted_as), hashlib.sha256()
    pieces = chosen(sample, name, shape, _CHUNK if sample is None else _SAMPLED)
    for place, part in pieces:
        chunk = torch.empty(part, dtype=dtype)
        reader.read_(name, chunk, place)
        if sample is None and chunk.numel():
            digest.update(memoryview(chunk.reshape(-1).view(torch.uint8).numpy()))  # type: ignore[arg-type]  # numpy's is one
        tally.add(chunk if dtype.is_floating_point else chunk.double())
    parts = None
    if entry is not None:
        parts = parts_of(entry, [Box(place.global_offset, part) for place, part in pieces] if sample else None)
    known = expected(parts, counted_as) if parts is not None else None
    words = _words(entry)
    return Seen(name, shape, dtype, words, parts, known, tally.counted(known), None if sample else digest.hexdigest())


def _words(entry: Entry | None) -> str:
    return "unknown" if entry is None else entry.text()
