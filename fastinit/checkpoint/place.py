"""Where a checkpoint is written: its name is held from the first moment, and what has that name is whole.

A run holds its name by a lock on the file ``.NAME.fastinit-lock`` beside it. The system frees the lock when the process ends,
however it ends, on every machine that shares the file system; so neither a process id nor a clock says who is alive, and
nothing has the final name before the last step. The files are written to ``NAME.partial-`` and 16 random hex digits.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.files import problem_text, sync
from fastinit.model.shown import shown


@contextmanager
def reserved(directory: Path) -> Iterator[Path]:
    """The path that the checkpoint will have, held against every other run for as long as the context lasts.

    Folders above it are made, and removed again if nothing came to be in them. Raises ``UsageError`` for a name that
    exists, were it a link to nowhere, or is another run's, and where there can be no such folder.
    """
    if directory.name in ("", ".."):
        raise UsageError(f"--out: expected the name of a new folder, got {shown(directory)}")
    final = Path(os.path.realpath(directory.parent)) / directory.name
    _check_new(final, directory)
    missing = [above for above in final.parents if not os.path.lexists(above)]  # the innermost first
    lock = final.with_name(f".{final.name}.fastinit-lock")
    try:
        descriptor = _locked(lock, missing, directory)
        try:
            _check_new(final, directory)  # the run that held the lock may have ended well
            yield final
        finally:
            with suppress(OSError):
                lock.unlink()
            os.close(descriptor)
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def partial_of(final: Path) -> Path | None:
    """The folder of a run into this name that did not come to its end; None if there is none."""
    pattern = re.compile(re.escape(final.name) + r"\.partial-[0-9a-f]{16}")
    with os.scandir(final.parent) as entries:
        found = [e.name for e in entries if pattern.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    if len(found) > 1:
        names = ", ".join(shown(final.with_name(name)) for name in sorted(found))
        raise UsageError(f"--out: expected at most one partial checkpoint, got {names}: remove all but one")
    return final.with_name(found[0]) if found else None


def new_partial(final: Path) -> Path:
    """A new folder beside the final one."""
    partial = final.with_name(f"{final.name}.partial-{secrets.token_hex(8)}")
    partial.mkdir()
    return partial


def publish(partial: Path, final: Path) -> None:
    """Give the partial folder, whose files are on the disk, its final name, for good."""
    sync(partial)
    partial.rename(final)  # never over what holds anything, were it made since
    sync(final.parent)


def _check_new(final: Path, directory: Path) -> None:
    if os.path.lexists(final):
        raise UsageError(f"--out: expected a directory that does not exist, got {shown(directory)}")


def _locked(path: Path, missing: list[Path], directory: Path) -> int:
    """A descriptor that holds the lock on the file of this name; the file, and the folders missing above, are made."""
    try:
        if missing:
            path.parent.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync(folder.parent)
        while True:
            descriptor, made = _opened(path)
            _lock(descriptor, made, path, directory)
            if _is_still(path, descriptor):
                return descriptor
            os.close(descriptor)
    except OSError as error:
        raise UsageError(f"--out: {shown(directory)}: {problem_text(error)}") from None


def _opened(path: Path) -> tuple[int, bool]:
    """The lock's file, and whether it was made just now."""
    while True:
        with suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        with suppress(FileNotFoundError):  # or its run ends in this moment
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW), False


def _lock(descriptor: int, made: bool, path: Path, directory: Path) -> None:
    """Lock the file; ``UsageError`` where another run holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(f"--out: another run is writing {shown(directory)}") from None
    except OSError:  # a file system without locks: whoever makes the file holds the name
        if not made:
            os.close(descriptor)
            raise UsageError(
                f"--out: another run is writing {shown(directory)}, or was killed; this file system has no locks: "
                f"if there is none, remove {shown(path)}"
            ) from None


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the name is still that of the file: the run that held the lock removes it when it ends."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False
