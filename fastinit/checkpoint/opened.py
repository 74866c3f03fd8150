"""A checkpoint of whatever form, opened: which form it is, what its metadata say, and a reader of what its files hold."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.document import contents_from
from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.files import problem_text
from fastinit.checkpoint.index import INDEX, Index, parsed_index
from fastinit.checkpoint.reading import Reader, Safetensors
from fastinit.model.shown import shown


@dataclass(frozen=True, slots=True)
class Opened:
    """A folder's form, its tensors, and what they are to be: ``contents`` is None where nobody says, or another version."""

    form: str
    reader: Reader
    contents: Contents | None

    def size(self, name: str) -> int:
        """Bytes of a tensor. Raises ``ValueError`` or ``OSError`` where that cannot be read."""
        return prod(self.reader.shape(name)) * self.reader.dtype(name).itemsize


def opened(directory: Path) -> Opened:
    """Open a folder. Raises ``UsageError`` for one that holds no checkpoint, or metadata that are none."""
    try:
        index = parsed_index(directory / INDEX)
        return Opened("safetensors", Safetensors.of(directory, index.files), contents_from(index.document))
    except (OSError, ValueError, TypeError) as error:
        reason = problem_text(error) if isinstance(error, OSError) else error
        raise UsageError(f"{shown(directory)}: expected a checkpoint: {reason}") from None
