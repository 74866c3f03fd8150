"""What the files of ``torch.distributed.checkpoint`` hold, a box at a time, whoever wrote them.

Torch's ``.metadata`` is a pickle, which could ask for any code. Here it gets the few classes that metadata are made of, and
nothing else: another name is an error before it is looked up. The items are read as torch reads them, by ``torch.load`` with
``weights_only``, which has such a list of its own.
"""

import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from threading import get_ident
from typing import Any

import torch
import torch.distributed.checkpoint.filesystem as filesystem
import torch.distributed.checkpoint.metadata as described
from torch import Tensor

from fastinit.checkpoint.files import JSON_LIMIT, open_regular
from fastinit.model.shown import quoted, shown
from fastinit.recipe.boxes import Box, overlap
from fastinit.shard.geometry import LocalShard, Shape

METADATA = ".metadata"
_DESCRIBED = (
    "BytesStorageMetadata",
    "ChunkStorageMetadata",
    "Metadata",
    "MetadataIndex",
    "StorageMeta",
    "TensorProperties",
    "TensorStorageMetadata",
    "_MEM_FORMAT_ENCODING",
)


@dataclass(frozen=True, slots=True)
class Item:
    """A box of a tensor, and where it lies: the file, and its bytes there."""

    box: Box
    file: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What the metadata say of a tensor; its items are all of it, once."""

    dtype: torch.dtype
    shape: Shape
    items: tuple[Item, ...]


@dataclass(slots=True)
class Distributed:
    """The tensors of a folder by name, without the prefix that all of them have, and the names of what is no tensor."""

    folder: Path
    stored: dict[str, Stored]
    others: list[str]
    wrong: dict[str, str] = field(default_factory=dict)  # tensors of which the metadata make no sense, and why
    _last: dict[int, tuple[Item, Tensor]] = field(default_factory=dict)  # a thread reads on where it was

    @classmethod
    def of(cls, folder: Path, prefix: str = "") -> "Distributed":
        """Read the metadata. Raises ``ValueError`` or ``OSError`` where there are none that torch has written."""
        metadata = _metadata(folder / METADATA)
        found = cls(folder, {}, [])
        places = {
            (index.fqn, _sizes(index.offset)): info
            for index, info in metadata.storage_data.items()
            if index.offset is not None
        }
        for key, value in metadata.state_dict_metadata.items():
            if not isinstance(value, described.TensorStorageMetadata) or not key.startswith(prefix):
                found.others.append(key)
                continue
            name = key.removeprefix(prefix)
            try:
                found.stored[name] = _stored(key, value, places)
            except ValueError as error:
                found.wrong[name] = str(error)
        return found

    @property
    def files(self) -> set[str]:
        """The files that items lie in."""
        return {item.file for stored in self.stored.values() for item in stored.items}

    def lost(self) -> dict[str, list[str]]:
        """The files that are not there, each with the tensors that lie in it, as a whole or in part."""
        found: dict[str, list[str]] = {
            file: [] for file in sorted(self.files) if not os.path.lexists(self.folder / file)
        }
        for name, stored in self.stored.items():
            for file in {item.file for item in stored.items} & found.keys():
                found[file].append(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter([*self.stored, *self.wrong])

    def __contains__(self, name: object) -> bool:
        return name in self.stored or name in self.wrong

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of a tensor."""
        return self._known(name).dtype

    def shape(self, name: str) -> Shape:
        """The shape of a tensor."""
        return self._known(name).shape

    def read_(self, name: str, out: Tensor, place: LocalShard) -> None:
        """Fill a dense tensor with the elements of the box that begins where ``place`` says; an item is held at a time."""
        stored = self._known(name)
        wanted = Box(place.global_offset, tuple(out.shape))
        for item in stored.items:
            met = item.box.meet(wanted)
            if met is None or not met.numel:
                continue
            into = tuple(slice(o - a, o - a + n) for o, a, n in zip(met.offset, wanted.offset, met.shape, strict=True))
            of = tuple(slice(o - a, o - a + n) for o, a, n in zip(met.offset, item.box.offset, met.shape, strict=True))
            out[into] = self._loaded(item, stored.dtype)[of]

    def _known(self, name: str) -> Stored:
        if name in self.wrong:
            raise ValueError(self.wrong[name])
        return self.stored[name]

    def _loaded(self, item: Item, dtype: torch.dtype) -> Tensor:
        last = self._last.get(get_ident())
        if last is not None and last[0] == item:
            return last[1]
        with open_regular(self.folder / item.file) as file:
            if item.offset + item.length > os.fstat(file.fileno()).st_size:
                raise ValueError(f"{shown(item.file)} is shorter than its metadata say")
            file.seek(item.offset)
            raw = file.read(item.length)
        try:
            tensor = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        except Exception as error:  # whatever torch raises of bytes that nobody vouches for
            raise ValueError(f"{shown(item.file)}: no tensor that torch loads: {_line(error)}") from None
        if (
            type(tensor) is not Tensor
            or tensor.layout != torch.strided
            or tensor.is_quantized
            or tensor.device.type != "cpu"
        ):
            raise ValueError(f"{shown(item.file)}: expected a dense tensor, got another value")
        if tensor.dtype != dtype or tuple(tensor.shape) != item.box.shape:
            raise ValueError(
                f"{shown(item.file)}: expected {dtype} of {item.box.shape}, got {tensor.dtype} of {tuple(tensor.shape)}"
            )
        self._last[get_ident()] = item, tensor
        return tensor


class _Classes:
    """Of an unpickler of metadata: what these are made of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The class of this name, from the list."""
        if module == described.__name__ and name in _DESCRIBED:
            return getattr(described, name)
        if (module, name) == (filesystem.__name__, "_StorageInfo"):
            return filesystem._StorageInfo
        if module == "torch" and name != "Size" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        known = {
            ("torch", "Size"): torch.Size,
            ("torch.serialization", "_get_layout"): _layout,
            ("collections", "OrderedDict"): OrderedDict,
            # A path says where the folder once was; nobody goes there.
            ("pathlib", "PosixPath"): _path,
            ("pathlib", "WindowsPath"): _path,
            ("pathlib._local", "PosixPath"): _path,
            ("pathlib._local", "WindowsPath"): _path,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {shown(module)}.{shown(name)}, which no metadata are made of")
        return known[module, name]


class _Careful(_Classes, pickle._Unpickler):
    """The one that is written in Python, which takes no more memory than what it reads asks for."""


class _AsTorch(_Classes, pickle.Unpickler):
    """The one that torch has; it refuses more, and its memory is as large as the largest number that a pickle gives a value."""


def _unpickled(raw: bytes) -> Any:
    """The value of a pickle that both unpicklers take."""
    careful: Any = _Careful(io.BytesIO(raw))
    careful.load()
    if max(careful.memo, default=0) > len(raw):
        raise pickle.UnpicklingError("its values have larger numbers than it has bytes")
    return _AsTorch(io.BytesIO(raw)).load()


def _layout(name: object) -> torch.layout:
    if name != "torch.strided":
        raise ValueError(f"layout: expected torch.strided, got {quoted(name)}")
    return torch.strided


def _path(*parts: object) -> str:
    return "/".join(map(str, parts))


def _metadata(path: Path) -> Any:
    with open_regular(path) as file:
        raw = file.read(JSON_LIMIT + 1)
    if len(raw) > JSON_LIMIT:
        raise ValueError(f"{METADATA}: it is longer than {JSON_LIMIT:,} bytes")
    try:
        metadata = _unpickled(raw)
        if type(metadata) is not described.Metadata:
            raise TypeError(f"expected torch's Metadata, got {type(metadata).__name__}")
        _check(metadata)
    except Exception as error:  # a pickle is a program, and may raise anything
        raise ValueError(f"{METADATA}: {_line(error)}") from None
    return metadata


def _check(metadata: Any) -> None:
    """Raise for metadata whose parts are not of torch's types."""
    if type(metadata.state_dict_metadata) is not dict or type(metadata.storage_data) is not dict:
        raise TypeError("expected dicts of tensors and of places")
    if not all(type(key) is str for key in metadata.state_dict_metadata):
        raise TypeError("expected texts as names")
    for index, info in metadata.storage_data.items():
        if type(index) is not described.MetadataIndex or type(info) is not filesystem._StorageInfo:
            raise TypeError("expected places by index")


def _stored(key: str, value: Any, places: dict[Any, Any]) -> Stored:
    """A tensor and its items. Raises ``ValueError`` unless these are all of it, once, in files of the folder."""
    try:
        dtype, shape = value.properties.dtype, _sizes(value.size)
        boxes = [Box(_sizes(chunk.offsets), _sizes(chunk.sizes)) for chunk in value.chunks]
        items = []
        for box in boxes:
            info = places[key, box.offset]
            file, offset, length = info.relative_path, info.offset, info.length
            if info.transform_descriptors:
                raise ValueError("it is stored transformed")
            if not (type(file) is str and file.isprintable() and Path(file).name == file and file != ".."):
                raise ValueError(f"expected the name of a file in the folder, got {shown(file)}")
            if type(offset) is not int or type(length) is not int or offset < 0 or length < 0:
                raise ValueError("expected bytes of a file")
            items.append(Item(box, file, offset, length))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"its metadata are not whole: {type(error).__name__}") from None
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"dtype: expected one of torch's, got {shown(dtype)}")
    whole = Box.whole(shape)
    if any(len(box.offset) != len(shape) or len(box.shape) != len(shape) for box in boxes) or any(
        box.numel and box.meet(whole) != box for box in boxes
    ):
        raise ValueError("items beyond the tensor")
    if sum(box.numel for box in boxes) != prod(shape) or overlap(boxes):
        raise ValueError("items that are not all of the tensor, once")
    return Stored(dtype, shape, tuple(items))


def _sizes(value: Any) -> Shape:
    if not isinstance(value, tuple | list) or not all(type(n) is int and n >= 0 for n in value):
        raise ValueError(f"expected sizes, got {quoted(value)}")
    return tuple(value)


def _line(error: BaseException) -> str:
    return shown((str(error) or type(error).__name__).splitlines()[0])
