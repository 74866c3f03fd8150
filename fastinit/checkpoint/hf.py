"""Sharded safetensors with an index, as Hugging Face has them: several tensors a file, filled a part at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.files import sync
from fastinit.checkpoint.index import INDEX, UNFINISHED, Index, index_of
from fastinit.checkpoint.proof import file_problems
from fastinit.checkpoint.ranks import Ranks
from fastinit.checkpoint.resume import make_resumable
from fastinit.checkpoint.shard_file import header_bytes, write_file

_BLOCK = 4096  # bytes; what a file takes on a disk is a multiple of it


@dataclass(frozen=True)
class HuggingFace:
    """Files of at most ``shard_size`` bytes of tensors, or of one tensor that is larger."""

    contents: Contents
    shard_size: int
    keeps = True

    @cached_property
    def index(self) -> Index:
        """Which file holds what."""
        return index_of(self.contents, self.shard_size)

    @cached_property
    def files(self) -> dict[str, Contents]:
        """What each file holds."""
        return {file: self.contents.only(names) for file, names in self.index.groups().items()}

    @property
    def count(self) -> int:
        """How many files with tensors there are."""
        return len(self.files)

    @property
    def needed(self) -> int:
        """Bytes that the files take on a disk."""
        sizes = [len(header_bytes(group)) + group.total_size for group in self.files.values()]
        sizes += map(len, self.contents.beside.values())
        return sum(-(-size // _BLOCK) * _BLOCK for size in sizes)

    def make_resumable(self, partial: Path) -> None:
        """Make ready a folder that a stopped run left. ``UsageError`` unless it was to be this checkpoint."""
        make_resumable(partial, self.index, self.contents.beside)

    def begin(self, partial: Path) -> None:
        """Write the index, under a name that says it is not true yet, and the files that hold no tensor."""
        # One that is there is right, and a kill while it is written again would spoil it.
        if not (partial / UNFINISHED).exists():
            (partial / UNFINISHED).write_bytes(self.index.text())
        sync(partial / UNFINISHED)
        for name, text in self.contents.beside.items():
            (partial / name).unlink(missing_ok=True)  # it may be a link to elsewhere
            (partial / name).write_bytes(text)
            sync(partial / name)

    def write(self, partial: Path, found: bool, ranks: Ranks, advance: Callable[[int], object]) -> Iterator[bool]:
        """Write this rank's files, each of them waited for; for each, whether it was there, and proved to be right."""
        for file in ranks.mine({file: group.total_size for file, group in self.files.items()}):
            group = self.files[file]
            was_there = found and not any(file_problems(partial / file, group))
            if was_there:
                sync(partial / file)
                advance(group.total_size)
            else:
                write_file(partial / file, group, advance)
            yield was_there

    def end(self, partial: Path) -> None:
        """Give the index its name."""
        (partial / UNFINISHED).rename(partial / INDEX)
