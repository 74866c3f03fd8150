"""What is read and written beside tensors: regular files, JSON that has one meaning, and what must outlive a power cut."""

import errno
import json
import os
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO

_ON_THE_WAY = 2**25  # bytes behind the end of a growing file that may still be on their way to the disk
JSON_LIMIT = 100_000_000  # bytes; safetensors takes no longer header, and an index has a few dozen a tensor


def is_config(source: str) -> bool:
    """Whether a source is a path of a config of transformers, or of its folder."""
    return (Path(source) / "config.json").is_file() or (Path(source).suffix == ".json" and Path(source).is_file())


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, if the name itself is that of a regular one: no link to elsewhere, no FIFO to wait for.

    Raises ``OSError`` for what is not there or is something else.
    """
    if not S_ISREG(path.lstat().st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return path.open("rb")


def parse_json(text: bytes) -> Any:
    """The value of a JSON text in UTF-8. Raises ``ValueError`` for all else, and for what readers take differently:
    a key that is given twice, a number that JSON does not have, an integer beyond 64 bits.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key is given twice")
        return found

    def no_number(text: str) -> float:
        raise ValueError(f"{text} is no number of JSON")

    def integer(text: str) -> int:
        if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
            raise ValueError("an integer of more than 64 bits")
        return int(text)

    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_number, parse_int=integer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no fsync of a folder
            raise
    finally:
        os.close(descriptor)


def write_back(descriptor: int, end: int) -> None:
    """Ask the system to begin with the last bytes of a growing file, and to drop those that are on the disk already.

    Or it begins when a tenth of its memory waits, and the disk is idle until then. Each byte is asked for several times: at
    first it is sent to the disk, and later, when it has arrived, its memory is given back.
    """
    begin = max(0, end - _ON_THE_WAY)
    os.posix_fadvise(descriptor, begin, end - begin, os.POSIX_FADV_DONTNEED)


def problem_text(error: OSError) -> str:
    """The system's reason, without its number.

    >>> problem_text(OSError(errno.ENOSPC, "No space left on device"))
    'No space left on device'
    """
    return error.strerror or str(error) or type(error).__name__
