"""``torch.distributed.checkpoint``: the form of FSDP2 and torchtitan, and of OLMo-core, written by torch's own writer.

torch plans what each rank writes, and asks for the data of an item when it writes it: only then is it filled. Every rank writes
the boxes that it would hold of each tensor, and nothing goes between the ranks but the plan. ``fastinit.json`` beside torch's
files says what all values follow from.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
)
from torch.distributed.checkpoint.planner import SavePlan, TensorWriteData, WriteItem, WriteItemType
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.checkpoint.storage import WriteResult

from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.document import document_of
from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.files import JSON_LIMIT, open_regular, parse_json, sync
from fastinit.checkpoint.parts import Part
from fastinit.checkpoint.ranks import Ranks
from fastinit.model.shown import shown
from fastinit.shard.geometry import LocalShard, Shape, coordinates
from fastinit.shard.placements import Split, layouts

DOCUMENT = "fastinit.json"
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
        writer = _Writer(partial, self.contents)
        planner = _Planner(self.contents, self.prefix, self.boxes, advance)
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


class _Planner(DefaultSavePlanner):
    """A plan of items that are filled when they are written."""

    def __init__(self, contents: Contents, prefix: str, boxes: Boxes, advance: Callable[[int], object]) -> None:
        super().__init__()
        self._contents, self._prefix, self._boxes, self._advance = contents, prefix, boxes, advance
        self._last: Tensor | None = None

    def create_local_plan(self) -> SavePlan:
        """An item for each part of what this rank holds."""
        items = [item for name in self._contents for item in self._items(name)]
        root = tuple(filter(None, self._prefix.split(".")))
        self.mappings: Any = {self._prefix + name: (*root, name) for name in self._contents}
        self.plan = SavePlan(items, planner_data=self.mappings)
        return self.plan

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        """The data of an item, filled now.

        The writer keeps every tensor until its file is whole. The memory of the one before is given back here, once it is written;
        a writer that still wanted it would write an item of no bytes, which is told below.
        """
        assert write_item.tensor_data is not None
        if self._last is not None:
            self._last.untyped_storage().resize_(0)
        name = write_item.index.fqn.removeprefix(self._prefix)
        chunk = write_item.tensor_data.chunk
        tensor = torch.empty(chunk.sizes, dtype=self._contents.dtypes[name], device="cpu")
        place = LocalShard(tuple(write_item.tensor_data.size), tuple(chunk.offsets))
        self._contents.fill_(name, tensor, place)
        self._last = tensor
        self._advance(tensor.nbytes)
        return tensor

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

    def __init__(self, path: Path, contents: Contents) -> None:
        # Without a copy ahead, an item is written before the next one is asked for.
        super().__init__(path, thread_count=1, per_thread_copy_ahead=0, sync_files=True)
        self._contents = contents

    def storage_meta(self) -> StorageMeta:
        """Without the path, and without a number drawn for this run."""
        return StorageMeta()

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Write the metadata, when every item has its bytes."""
        sizes = {result.index: result.size_in_bytes for each in results for result in each}
        for name, stored in metadata.state_dict_metadata.items():
            for chunk in stored.chunks:  # type: ignore[union-attr]  # all are tensors
                expected = prod(chunk.sizes) * stored.properties.dtype.itemsize  # type: ignore[union-attr]
                written = sizes.get(MetadataIndex(name, chunk.offsets))
                if written is None or written < expected:
                    raise RuntimeError(f"{shown(name)}: this version of torch writes an item when it is gone")
        super().finish(metadata, results)


def _first(error: CheckpointException) -> BaseException:
    """What the first of the ranks that failed has raised."""
    failures: Mapping[int, Any] = error.failures
    first: BaseException = failures[min(failures)][0]
    return first
