"""Whether a checkpoint is what its metadata say: every name in the folder, every header, every bit."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from fastinit.checkpoint.compared import compared
from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.files import open_regular, problem_text
from fastinit.checkpoint.index import INDEX, Index, header_metadata
from fastinit.checkpoint.reading import Reader, Safetensors
from fastinit.checkpoint.shard_file import FORMAT_NAMES, Header
from fastinit.model.shown import shown

Problem = tuple[str, str]  # a tensor or a file, and what is wrong with it


def indexed_problems(index: Index, contents: Contents, reader: Safetensors) -> Iterator[Problem]:
    """All but bits that keeps a folder, with this index, from holding the contents."""
    yield from _strangers(reader.folder, {INDEX, *index.files.values()}, index.document["beside"], "the index")
    if index.total_size != contents.total_size:
        yield INDEX, f"its total_size is {index.total_size:,}, expected {contents.total_size:,}"
    yield from _names(reader, contents)
    for file, names in index.groups().items():
        mine = set(names)
        yield from file_header_problems(reader, file, contents.only([name for name in contents if name in mine]))


def loose_problems(contents: Contents, reader: Safetensors) -> Iterator[Problem]:
    """All but bits that keeps files without an index from holding the contents."""
    yield from _names(reader, contents)
    for file, header in reader.headers.items():
        names = header.entries if isinstance(header, Header) else {}
        yield from file_header_problems(reader, file, contents.only([name for name in contents if name in names]))


def stored_problems(
    contents: Contents, reader: Reader, folder: Path, files: set[str], beside: Mapping[str, object], others: list[str]
) -> Iterator[Problem]:
    """All but bits that keeps files of torch.distributed.checkpoint from holding the contents, and no ``others``."""
    yield from _strangers(folder, files, beside, "its metadata")
    for name in others:
        yield name, "is in the checkpoint, and is no tensor of the model"
    yield from _names(reader, contents)
    for name in contents:
        if name in reader:
            problem = _dtype_problem(reader, name, contents)
            if problem:
                yield name, problem


def file_problems(path: Path, contents: Contents) -> Iterator[Problem]:
    """All that keeps a file of safetensors from holding exactly these contents; it is read a part at a time."""
    reader = Safetensors.of(path.parent, dict.fromkeys(contents, path.name), (path.name,))
    wrong = False
    for problem in file_header_problems(reader, path.name, contents):
        wrong = True
        yield problem
    for name in () if wrong else contents:
        text = compared(reader, name, contents).text
        if text:
            yield name, text


def file_header_problems(reader: Safetensors, file: str, contents: Contents) -> Iterator[Problem]:
    """All but bits that keeps a file from holding exactly these contents."""
    header = reader.headers[file]
    if not isinstance(header, Header):
        reason = problem_text(header) if isinstance(header, OSError) else str(header)
        for name in tuple(contents) or (file,):
            yield name, f"cannot be read: {shown(file)}: {reason}"
        return
    for name in sorted(header.entries.keys() - set(contents)):
        yield file, f"holds {shown(name)}, which the index does not say"
    if header.metadata != header_metadata(contents):
        yield file, "its header has other metadata than the index"
    for name in contents:
        problem = _entry_problem(header, name, contents)
        if problem:
            yield name, problem


def _entry_problem(header: Header, name: str, contents: Contents) -> str | None:
    shape, dtype = contents.shape(name), contents.dtypes[name]
    entry = header.entries.get(name)
    if entry is None:
        return "is missing in its file"
    if (entry.dtype, entry.shape) != (FORMAT_NAMES[dtype], shape):
        return f"{shown(entry.dtype)} of {shown(entry.shape)}, expected {FORMAT_NAMES[dtype]} of {shape}"
    if entry.end - entry.begin != contents.size(name):
        return f"{entry.end - entry.begin:,} bytes, expected {contents.size(name):,}"
    return None


def _dtype_problem(reader: Reader, name: str, contents: Contents) -> str | None:
    try:
        dtype, shape = reader.dtype(name), reader.shape(name)
    except (OSError, ValueError):
        return None  # which is told when its bits are asked for
    if (dtype, shape) == (contents.dtypes[name], contents.shape(name)):
        return None
    return f"{dtype} of {shape}, expected {contents.dtypes[name]} of {contents.shape(name)}"


def _names(reader: Reader, contents: Contents) -> Iterator[Problem]:
    for name in sorted(set(reader) - set(contents)):
        yield name, "is not a tensor of the model"
    for name in contents:
        if name not in reader:
            yield name, "is missing"


def _strangers(folder: Path, files: set[str], beside: Mapping[str, object], who: str) -> Iterator[Problem]:
    """Names in the folder that there should not be, and files beside the tensors that are not as they were."""
    with os.scandir(folder) as entries:
        present = {entry.name for entry in entries}
    for name in sorted(present - files - beside.keys()):
        yield name, f"is in the folder, and {who} does not name it"
    for name, digest in beside.items():
        problem = _beside_problem(folder / name, digest) if Path(name).name == name else "is no name of a file"
        if problem:
            yield name, problem


def _beside_problem(path: Path, digest: object) -> str | None:
    try:
        with open_regular(path) as file:
            same = hashlib.sha256(file.read()).hexdigest() == digest
    except OSError as error:
        return f"cannot be read: {problem_text(error)}"
    return None if same else "is not as it was written"
