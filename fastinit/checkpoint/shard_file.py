"""A file of safetensors: the header's length in 8 bytes, the header in JSON, and the data of its tensors without a gap.

safetensors itself writes from memory that holds all of it. Here a part at a time is filled and written; tests read these files
with it.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import torch

from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.files import JSON_LIMIT, parse_json, write_back
from fastinit.checkpoint.index import header_metadata
from fastinit.shard.geometry import Shape

FORMAT_NAMES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNMENT = 64  # bytes; of the data in the file


@dataclass(frozen=True, slots=True)
class Entry:
    """What a header says of one tensor; its data lie in [begin, end), in bytes from the first byte of the file's data."""

    dtype: str
    shape: Shape
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """All that a header says; ``start`` is where the data begin, in bytes from the beginning of the file."""

    metadata: dict[str, Any]
    entries: dict[str, Entry]
    start: int


def header_bytes(contents: Contents) -> bytes:
    """The beginning of a file of these tensors, up to their data."""
    fields: dict[str, Any] = {"__metadata__": header_metadata(contents)}
    end = 0
    for name in contents:
        begin, end = end, end + contents.size(name)
        dtype, shape = FORMAT_NAMES[contents.dtypes[name]], contents.shape(name)
        fields[name] = {"dtype": dtype, "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(fields).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def write_file(path: Path, contents: Contents, advance: Callable[[int], object]) -> None:
    """Write a file of these tensors, filled a part at a time, and wait until it is on the disk.

    What has the path already is replaced. The disk's space is taken first, so that a full one is told before hours of work. No
    more than a part is held; the system is asked to write it while the next ones are filled, and to keep no copy. ``advance``
    is told the bytes.
    """
    path.unlink(missing_ok=True)
    beginning = header_bytes(contents)
    with path.open("xb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, len(beginning) + contents.total_size)
        write_all(file, memoryview(beginning))
        for part in contents.filled():
            write_all(file, part)
            write_back(file.fileno(), file.tell())
            advance(len(part))
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def write_all(file: FileIO, memory: memoryview) -> None:
    """Write all bytes; the system may take some of them at a time."""
    while memory:
        memory = memory[file.write(memory) :]


def read_header(file: BinaryIO) -> Header:
    """The header of a file, whose tensors fill all the rest of it. Raises ``ValueError`` for what safetensors would refuse."""
    whole = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if whole < 8 or length > min(whole - 8, JSON_LIMIT):
        raise ValueError(f"a header of {length:,} bytes in a file of {whole:,}")
    text = file.read(length)
    if text[:1] != b"{":
        raise ValueError("a header that does not begin with {")
    fields = parse_json(text)
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ValueError("metadata that are no object")
    entries = {name: _entry(value) for name, value in fields.items()}
    reached = 0
    for entry in sorted(entries.values(), key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != reached or entry.end < entry.begin:
            raise ValueError("tensors that overlap or leave a gap")
        reached = entry.end
    if reached != whole - 8 - length:
        raise ValueError(f"tensors of {reached:,} bytes in {whole - 8 - length:,}")
    return Header(metadata, entries, 8 + length)


def _entry(value: object) -> Entry:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError("a tensor without dtype, shape and data_offsets, or with more")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not (isinstance(dtype, str) and _are_sizes(shape) and _are_sizes(offsets) and len(offsets) == 2):
        raise ValueError("a tensor whose dtype is no text, or whose shape or data_offsets are no sizes")
    return Entry(dtype, tuple(shape), *offsets)


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)  # nor a bool
