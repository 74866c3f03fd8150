"""Whether a checkpoint is what its index says: every name in the folder, every header, every bit."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch

from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.files import open_regular, problem_text
from fastinit.checkpoint.index import INDEX
from fastinit.checkpoint.shard_file import FORMAT_NAMES, Header, read_header
from fastinit.model.shown import shown
from fastinit.shard.bits import bits_of
from fastinit.shard.geometry import LocalShard, Shape

_CHUNK = 2**26  # elements that are regenerated at a time


def folder_problems(directory: Path, contents: Contents, advance: Callable[[int], object]) -> Iterator[tuple[str, str]]:
    """All that keeps a folder, with the contents' own index, from holding them: (a tensor or a file, what is wrong with it).

    ``advance`` is told the elements of each file when it is done.
    """
    index, shapes = contents.index, contents.shapes
    with os.scandir(directory) as entries:
        present = {entry.name for entry in entries}
    for name in sorted(present - {INDEX} - set(index.files.values())):
        yield name, "is in the folder, and the index does not name it"
    if index.total_size != contents.total_size:
        yield INDEX, f"its total_size is {index.total_size:,}, expected {contents.total_size:,}"
    for name in sorted(index.files.keys() - shapes.keys()):
        yield name, "is not a tensor of the model"
    for name in shapes:
        if name not in index.files:
            yield name, "is missing"
    tensors_of: dict[str, list[str]] = {file: [] for file in index.files.values()}
    for name, file in index.files.items():
        if name in shapes:
            tensors_of[file].append(name)
    for file, tensors in tensors_of.items():
        yield from file_problems(directory / file, tensors, contents)
        advance(sum(prod(shapes[name]) for name in tensors))


def file_problems(path: Path, tensors: Sequence[str], contents: Contents) -> Iterator[tuple[str, str]]:
    """All that keeps a file from holding exactly these tensors and the index's recipe; it is read a part at a time."""
    try:
        with open_regular(path) as file:
            header = read_header(file)
            yield from _header_problems(path.name, header, tensors, contents.index.header_metadata())
            for name in tensors:
                problem = _tensor_problem(file, header, name, contents)
                if problem:
                    yield name, problem
    except (OSError, ValueError) as error:
        reason = problem_text(error) if isinstance(error, OSError) else str(error)
        for name in tensors or (path.name,):
            yield name, f"cannot be read: {shown(path.name)}: {reason}"


def _header_problems(
    file: str, header: Header, tensors: Sequence[str], metadata: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for name in sorted(header.entries.keys() - set(tensors)):
        yield file, f"holds {shown(name)}, which the index does not say"
    found = header.metadata
    others = [
        key
        for key in sorted(found.keys() | metadata.keys())
        if key not in found or key not in metadata or found[key] != metadata[key]  # null is not missing
    ]
    if others:
        pairs = (f"{shown(key)} {shown(found.get(key))} for {shown(metadata.get(key))}" for key in others)
        yield file, f"its header has other metadata than the index: {', '.join(pairs)}"


def _tensor_problem(file: BinaryIO, header: Header, name: str, contents: Contents) -> str | None:
    shape, dtype = contents.shapes[name], contents.dtype
    entry = header.entries.get(name)
    if entry is None:
        return "is missing in its file"
    if (entry.dtype, entry.shape) != (FORMAT_NAMES[dtype], shape):
        return f"{shown(entry.dtype)} of {shown(entry.shape)}, expected {FORMAT_NAMES[dtype]} of {shape}"
    if entry.end - entry.begin != contents.size(name):
        return f"{entry.end - entry.begin:,} bytes, expected {contents.size(name):,}"
    file.seek(header.start + entry.begin)
    wrong, first, seen = 0, -1, 0
    for box, part in _parts(shape):
        stored, again = torch.empty(part, dtype=dtype), torch.empty(part, dtype=dtype)
        memory = stored.view(-1).view(torch.uint8).numpy()
        if file.readinto(memory) != memory.nbytes:  # type: ignore[attr-defined]
            return "cannot be read: the file became shorter"
        contents.fill(name, again, box)
        different = (bits_of(stored) != bits_of(again)).flatten()
        count = int(different.count_nonzero())
        if count and first < 0:
            first = seen + int(different.nonzero()[0])
        wrong += count
        seen += stored.numel()
    return f"{wrong:,} elements differ, the first at index {first}" if wrong else None


def _parts(shape: Shape) -> Iterator[tuple[LocalShard, Shape]]:
    """A tensor in row-major order, cut into parts of at most ``_CHUNK`` elements, or of one row: its place and its shape."""
    if not shape or prod(shape) <= _CHUNK:
        yield LocalShard.whole(shape), shape
        return
    rows = max(1, _CHUNK // prod(shape[1:]))
    for begin in range(0, shape[0], rows):
        yield LocalShard(shape, (begin, *[0] * (len(shape) - 1))), (min(rows, shape[0] - begin), *shape[1:])
