"""What a checkpoint's files hold, a box at a time, whoever wrote them: of safetensors, one or many, with or without an index.

A reader looks at headers when it is made, and at data when it is asked; no file is open in between. Nothing that it reads is
trusted: what it cannot read is a ``ValueError`` or an ``OSError``.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, Protocol

import torch
from torch import Tensor

from fastinit.checkpoint.files import open_regular
from fastinit.checkpoint.shard_file import FORMAT_NAMES, Entry, Header, read_header
from fastinit.model.shown import shown
from fastinit.shard.geometry import LocalShard, Shape, is_one_run, row_major_strides

DTYPES = {name: dtype for dtype, name in FORMAT_NAMES.items()}


class Reader(Protocol):
    """The tensors of a checkpoint by name. All methods raise ``ValueError`` or ``OSError`` for what cannot be read."""

    def __iter__(self) -> Iterator[str]: ...
    def __contains__(self, name: object) -> bool: ...

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of a tensor."""
        ...

    def shape(self, name: str) -> Shape:
        """The shape of a tensor."""
        ...

    def read_(self, name: str, out: Tensor, place: LocalShard) -> None:
        """Fill a dense tensor with the elements of the box that begins where ``place`` says."""
        ...


@dataclass(frozen=True, slots=True)
class Safetensors:
    """The tensors of files of safetensors: the file of each by its name, and the header of each file, or why it has none."""

    folder: Path
    files: Mapping[str, str]
    headers: Mapping[str, Header | OSError | ValueError]

    @classmethod
    def of(cls, folder: Path, files: Mapping[str, str], more: Iterable[str] = ()) -> "Safetensors":
        """Of the tensors that an index names, the file of each; ``more`` are files without any."""
        return cls(folder, files, {file: _header(folder / file) for file in dict.fromkeys((*files.values(), *more))})

    @classmethod
    def all_in(cls, folder: Path) -> "Safetensors":
        """Of all files of a folder, where there is no index. Raises ``ValueError`` for a name that two of them have."""
        names = sorted(path.name for path in folder.iterdir() if path.suffix == ".safetensors")
        headers = {name: _header(folder / name) for name in names}
        files: dict[str, str] = {}
        for file, header in headers.items():
            if not isinstance(header, Header):
                raise header
            for name in header.entries:
                if name in files:
                    raise ValueError(f"{shown(name)} is in {shown(files[name])} and in {shown(file)}")
                files[name] = file
        return cls(folder, files, headers)

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __contains__(self, name: object) -> bool:
        return name in self.files

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of a tensor."""
        found = self.entry(name)[1].dtype
        if found not in DTYPES:
            raise ValueError(f"a dtype that is not compared: {shown(found)}")
        return DTYPES[found]

    def shape(self, name: str) -> Shape:
        """The shape of a tensor."""
        return self.entry(name)[1].shape

    def entry(self, name: str) -> tuple[Header, Entry]:
        """What its file says of a tensor, and in which header."""
        header = self.headers[self.files[name]]
        if not isinstance(header, Header):
            raise header
        if name not in header.entries:
            raise ValueError("is missing in its file")
        return header, header.entries[name]

    def read_(self, name: str, out: Tensor, place: LocalShard) -> None:
        """Fill a dense tensor with the elements of the box that begins where ``place`` says."""
        header, entry = self.entry(name)
        if entry.end - entry.begin != prod(entry.shape) * self.dtype(name).itemsize:
            raise ValueError(f"{entry.end - entry.begin:,} bytes for {shown(entry.dtype)} of {entry.shape}")
        with open_regular(self.folder / self.files[name]) as file:
            read_box(file, header.start + entry.begin, out, place)


def read_box(file: BinaryIO, start: int, out: Tensor, place: LocalShard) -> None:
    """Fill a dense tensor with the box of a row-major one whose data begin at that byte. Each run is read at once."""
    if not out.numel():
        return
    if not is_one_run(tuple(out.shape), place.global_shape):
        offset, first_long = place.global_offset, next(d for d, size in enumerate(out.shape) if size > 1)
        for k, row in enumerate(out.split(1, first_long)):
            there = (*offset[:first_long], offset[first_long] + k, *offset[first_long + 1 :])
            read_box(file, start, row, LocalShard(place.global_shape, there))
        return
    first = sum(o * t for o, t in zip(place.global_offset, row_major_strides(place.global_shape), strict=True))
    memory = memoryview(out.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]  # an array of numpy's is one
    reached = start + first * out.element_size()
    while memory:
        count = os.preadv(file.fileno(), [memory], reached)
        if not count:
            raise ValueError("the file became shorter")
        memory, reached = memory[count:], reached + count


def _header(path: Path) -> Header | OSError | ValueError:
    try:
        with open_regular(path) as file:
            return read_header(file)
    except (OSError, ValueError) as error:
        return error
