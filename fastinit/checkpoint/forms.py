"""What writing asks of a form of checkpoints: hf.py and dcp.py are such."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from fastinit.checkpoint.ranks import Ranks


class Form(Protocol):
    """The files of one checkpoint, and how they are written into a folder that nobody reads yet."""

    @property
    def count(self) -> int:
        """How many files with tensors there are."""

    @property
    def keeps(self) -> bool:
        """Whether a later run goes on with what a stopped one has written, once it is proved."""

    @property
    def needed(self) -> int:
        """Bytes that the files take on a disk."""

    def make_resumable(self, partial: Path) -> None:
        """Make ready a folder that a stopped run left. ``UsageError`` unless it was to be this checkpoint."""

    def begin(self, partial: Path) -> None:
        """Write what lies beside the tensors; by the first rank, before any other begins."""

    def write(self, partial: Path, found: bool, ranks: Ranks, advance: Callable[[int], object]) -> Iterator[bool]:
        """Write this rank's files, each of them waited for; for each, whether it was there, and proved to be right.

        ``advance`` is told the bytes that are done.
        """

    def end(self, partial: Path) -> None:
        """The last step, by the first rank, when all files are there."""
