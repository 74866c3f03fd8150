"""``torch.distributed.checkpoint``: the form of FSDP2 and torchtitan, and of OLMo-core, written by torch's own writer.

torch plans what each rank writes, and asks for the data of an item when it writes it: only then is it filled. Every rank writes
the boxes that it would hold of each tensor, and nothing goes between the ranks but the plan. ``fastinit.json`` beside torch's
files says what all values follow from.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedWriter, FileIO
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemWriter
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
)
from torch.distributed.checkpoint.planner import SavePlan, TensorWriteData, WriteItem, WriteItemType
from torch.distributed.checkpoint.state_dict_saver import save

from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.document import DOCUMENT, document_of
from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.files import JSON_LIMIT, open_regular, parse_json, sync, write_back
from fastinit.checkpoint.parts import Part
from fastinit.checkpoint.ranks import Ranks
from fastinit.model.shown import shown
from fastinit.shard.geometry import LocalShard, Shape, coordinates
from fastinit.shard.placements import Split, layouts

_METADATA = ".metadata"  # torch's name for what says where each item lies
_ITEM = 2**24  # bytes that are filled at a time
_OVERHEAD = 2**11  # bytes that torch.save adds to an item, at most

Boxes = Callable[[str, Shape], list[Part]]


def whole_boxes(name: str, shape: Shape) -> list[Part]:
    """All of each tensor, as one process has it."""
    return [(LocalShard.whole(shape), shape)]


@dataclass(frozen=True, slots=True)
class Mesh:
    """What a rank holds of each tensor: ranks in (data, expert, tensor) order, the last the fastest, as FSDP2 shards them.

    ``dims`` tells by name the dimensions that expert and tensor parallelism split; FSDP2 then splits the first one.
    """

    shape: tuple[int, int, int]
    rank: int
    dims: Callable[[str], tuple[int | None, int | None]]

    def boxes(self, name: str, shape: Shape) -> list[Part]:
        """The boxes of a tensor that this rank holds."""
        splits = (Split(0) if shape else None, *(None if dim is None else Split(dim) for dim in self.dims(name)))
        [layout] = layouts(shape, self.shape, coordinates(self.rank, self.shape), splits, (1, 2, 0))
        return [(box.shard, box.shape) for box in layout.boxes]


@dataclass(frozen=True, slots=True)
class Distributed:
    """Torch's files, one a rank. ``prefix`` comes before each name: OLMo-core has ``model.`` there."""

    contents: Contents
    prefix: str = ""
    boxes: Boxes = whole_boxes
    count: int = 1
    keeps = (
        False  # where an item lies in its file is known at the end alone, so a run that is gone on with begins again
    )

    @property
    def needed(self) -> int:
        """Bytes that the files take on a disk, or a little more."""
        items = sum(len(self.contents.parts(name, _ITEM)) + self.count for name in self.contents)
        return self.contents.total_size + items * _OVERHEAD + len(self._document())

    def make_resumable(self, partial: Path) -> None:
        """Remove what a stopped run left, which is written again. ``UsageError`` unless it was to be this checkpoint."""
        strangers = [path.name for path in partial.iterdir() if not self._is_ours(path)]
        if strangers:
            raise UsageError(
                f"--resume: {shown(partial)} holds what is no part of it: {', '.join(map(shown, sorted(strangers)))}"
            )
        try:
            with open_regular(partial / DOCUMENT) as file:
                stored = parse_json(file.read(JSON_LIMIT))
        except (OSError, ValueError):  # it ended before it had written it
            stored = None
        if stored is not None and stored != json.loads(self._document()):
            raise UsageError(f"--resume: {shown(partial)} is of another recipe")
        for path in partial.iterdir():
            if path.name != DOCUMENT:
                path.unlink()

    def begin(self, partial: Path) -> None:
        """Write fastinit.json, and the other files that hold no tensor."""
        for name, text in {DOCUMENT: self._document(), **self.contents.beside}.items():
            (partial / name).unlink(missing_ok=True)
            (partial / name).write_bytes(text)
            sync(partial / name)

    def write(self, partial: Path, found: bool, ranks: Ranks, advance: Callable[[int], object]) -> Iterator[bool]:
        """Write this rank's file, waited for; torch's first rank writes what says where all items lie."""
        files = _Files()
        writer, planner = _Writer(partial, files), _Planner(self.contents, self.prefix, self.boxes, files, advance)
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "torch.distributed is disabled", UserWarning
            )  # one process is what is asked for
            try:
                with ranks.losing():
                    save(
                        {}, storage_writer=writer, planner=planner, process_group=ranks.group, no_dist=ranks.count == 1
                    )
            except CheckpointException as error:
                raise _first(error) from None
        yield False

    def end(self, partial: Path) -> None:
        """Nothing is left to do: torch has given ``.metadata`` its name."""

    def _document(self) -> bytes:
        return (json.dumps(document_of(self.contents), indent=1) + "\n").encode()

    def _is_ours(self, path: Path) -> bool:
        known = {DOCUMENT, _METADATA, f"{_METADATA}.tmp", *self.contents.beside}
        return path.name in known or (path.name.startswith("__") and path.suffix == ".distcp")


class _Counted(BufferedWriter):
    """A file that counts what is written to it, and sends it to the disk soon."""

    _WRITE_BACK = 2**20  # bytes; what is smaller goes with the next that is not
    count = 0

    def write(self, data: Any) -> int:
        """Write, and count."""
        size = super().write(data)
        self.count += size
        if size > self._WRITE_BACK:
            write_back(self.fileno(), self.count)
        return size


class _Files(FileSystem):
    """Torch's way to files, which keeps the last one that is written to in sight."""

    last: _Counted | None = None

    @contextmanager
    def create_stream(self, path: Any, mode: str) -> Iterator[Any]:
        """Open a file."""
        if mode != "wb":
            with super().create_stream(path, mode) as stream:
                yield stream
            return
        with _Counted(FileIO(path, mode)) as self.last:
            yield self.last


class _Planner(DefaultSavePlanner):
    """A plan of items that are filled when they are written, all in the same memory."""

    def __init__(
        self, contents: Contents, prefix: str, boxes: Boxes, files: _Files, advance: Callable[[int], object]
    ) -> None:
        super().__init__()
        self._contents, self._prefix, self._boxes, self._files, self._advance = contents, prefix, boxes, files, advance
        self._buffer = torch.empty(0, dtype=torch.uint8, device="cpu")
        self._filled = 0

    def create_local_plan(self) -> SavePlan:
        """An item for each part of what this rank holds."""
        items = [item for name in self._contents for item in self._items(name)]
        root = tuple(filter(None, self._prefix.split(".")))
        self.mappings: Any = {self._prefix + name: (*root, name) for name in self._contents}
        self.plan = SavePlan(items, planner_data=self.mappings)
        return self.plan

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        """The data of an item, filled now, in memory that is filled again when the next is asked for.

        The writer keeps every tensor until its file is whole, and so it would keep the whole model.
        """
        written = 0 if self._files.last is None else self._files.last.count
        if written < self._filled:
            raise RuntimeError(
                "this version of torch asks for an item of a checkpoint before it has written the one before"
            )
        assert write_item.tensor_data is not None
        name = write_item.index.fqn.removeprefix(self._prefix)
        chunk, dtype = write_item.tensor_data.chunk, self._contents.dtypes[name]
        tensor = self._memory(prod(chunk.sizes) * dtype.itemsize, dtype).view(chunk.sizes)
        self._contents.fill_(name, tensor, LocalShard(tuple(write_item.tensor_data.size), tuple(chunk.offsets)))
        self._filled += tensor.nbytes
        self._advance(tensor.nbytes)
        return tensor

    def _memory(self, size: int, dtype: torch.dtype) -> Tensor:
        """So many bytes as a tensor that has just these: of one with more the writer would make a copy."""
        if not size:
            return torch.empty(0, dtype=dtype, device="cpu")
        if size > self._buffer.numel():
            self._buffer = torch.empty(size, dtype=torch.uint8, device="cpu")
        return torch.frombuffer(self._buffer.numpy(), dtype=dtype, count=size // dtype.itemsize)

    def _items(self, name: str) -> Iterator[WriteItem]:
        dtype, shape = self._contents.dtypes[name], self._contents.shape(name)
        properties = TensorProperties(dtype=dtype)
        for box, held in self._boxes(name, shape):
            for place, part in self._contents.parts(name, _ITEM, held):
                offset = torch.Size(a + b for a, b in zip(box.global_offset, place.global_offset, strict=True))
                data = TensorWriteData(ChunkStorageMetadata(offset, torch.Size(part)), properties, torch.Size(shape))
                index = MetadataIndex(self._prefix + name, offset)
                yield WriteItem(index, WriteItemType.SHARD, tensor_data=data)


class _Writer(FileSystemWriter):
    """Torch's writer, whose metadata say nothing of this run: equal checkpoints are equal files."""

    def __init__(self, path: Path, files: _Files) -> None:
        # Without a copy ahead, an item is written before the next one is asked for.
        super().__init__(path, thread_count=1, per_thread_copy_ahead=0, sync_files=True)
        self.fs = files

    def storage_meta(self) -> StorageMeta:
        """Without the path, and without a number drawn for this run."""
        return StorageMeta()


def _first(error: CheckpointException) -> BaseException:
    """What the first of the ranks that failed has raised; of an interrupt, and of what the system refuses while torch's C++ writes,
    that tells nothing but that a file is not as long as it should be.
    """
    failures: Mapping[int, Any] = error.failures
    first: BaseException = failures[min(failures)][0]
    cause: BaseException | None = first
    while cause is not None and not isinstance(cause, KeyboardInterrupt | OSError):
        cause = cause.__context__
    return cause or first
