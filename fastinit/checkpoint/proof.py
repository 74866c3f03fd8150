"""Whether a checkpoint is what its index says: every name in the folder, every header, every bit."""

import hashlib
import os
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch

from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.files import open_regular, problem_text
from fastinit.checkpoint.index import INDEX, Index, header_metadata
from fastinit.checkpoint.shard_file import FORMAT_NAMES, Header, read_header
from fastinit.model.shown import shown
from fastinit.shard.bits import bits_of
from fastinit.shard.geometry import LocalShard, Shape

_CHUNK = 2**26  # elements that are regenerated at a time


def folder_problems(
    directory: Path, index: Index, contents: Contents, advance: Callable[[int], object]
) -> Iterator[tuple[str, str]]:
    """All that keeps a folder, with this index, from holding the contents: (a tensor or a file, what is wrong with it).

    ``advance`` is told the bytes of each file's tensors when it is done.
    """
    beside = index.document["beside"]
    with os.scandir(directory) as entries:
        present = {entry.name for entry in entries}
    for name in sorted(present - {INDEX} - set(index.files.values()) - beside.keys()):
        yield name, "is in the folder, and the index does not name it"
    for name, digest in beside.items():
        problem = _beside_problem(directory / name, digest) if Path(name).name == name else "is no name of a file"
        if problem:
            yield name, problem
    if index.total_size != contents.total_size:
        yield INDEX, f"its total_size is {index.total_size:,}, expected {contents.total_size:,}"
    for name in sorted(index.files.keys() - set(contents)):
        yield name, "is not a tensor of the model"
    for name in contents:
        if name not in index.files:
            yield name, "is missing"
    for file, names in index.groups().items():
        mine = set(names)
        group = contents.only([name for name in contents if name in mine])
        yield from file_problems(directory / file, group)
        advance(group.total_size)


def file_problems(path: Path, contents: Contents) -> Iterator[tuple[str, str]]:
    """All that keeps a file from holding exactly these contents; it is read a part at a time."""
    try:
        with open_regular(path) as file:
            header = read_header(file)
            yield from _header_problems(path.name, header, contents)
            for name in contents:
                problem = _tensor_problem(file, header, name, contents)
                if problem:
                    yield name, problem
    except (OSError, ValueError) as error:
        reason = problem_text(error) if isinstance(error, OSError) else str(error)
        for name in tuple(contents) or (path.name,):
            yield name, f"cannot be read: {shown(path.name)}: {reason}"


def _beside_problem(path: Path, digest: object) -> str | None:
    try:
        with open_regular(path) as file:
            same = hashlib.sha256(file.read()).hexdigest() == digest
    except OSError as error:
        return f"cannot be read: {problem_text(error)}"
    return None if same else "is not as it was written"


def _header_problems(file: str, header: Header, contents: Contents) -> Iterator[tuple[str, str]]:
    for name in sorted(header.entries.keys() - set(contents)):
        yield file, f"holds {shown(name)}, which the index does not say"
    if header.metadata != header_metadata(contents):
        yield file, "its header has other metadata than the index"


def _tensor_problem(file: BinaryIO, header: Header, name: str, contents: Contents) -> str | None:
    shape, dtype = contents.shape(name), contents.dtypes[name]
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
        contents.fill_(name, again, box)
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
