"""Where a checkpoint is written: its name is held from the first moment, and what has that name is whole.

A run holds its name by a lock on the file ``.NAME.fastinit-lock`` beside it. The system frees the lock when the process ends,
however it ends, on every machine that shares the file system; so neither a process id nor a clock says who is alive, and
nothing has the final name before the last step. All ranks of a run hold it: one that outlives the first may still write. The
files are written to ``NAME.partial-`` and 16 random hex digits.
"""

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.files import problem_text, sync
from fastinit.model.shown import shown


@contextmanager
def reserved(directory: Path, shared: bool = False) -> Iterator[Path]:
    """The path that the checkpoint will have, held against every other run for as long as the context lasts.

    With ``shared`` other processes can be in ``joined``, and hold it on, whatever becomes of this one. Folders above it are made,
    and removed again if nothing came to be in them. Raises ``UsageError`` for a name that exists, were it a link to nowhere, or
    is another run's, and where there can be no such folder.
    """
    if directory.name in ("", ".."):
        raise UsageError(f"--out: expected the name of a new folder, got {shown(directory)}")
    final = Path(os.path.realpath(directory.parent)) / directory.name
    _check_new(final, directory)
    missing = [above for above in final.parents if not os.path.lexists(above)]  # the innermost first
    try:
        with _locked(_lock_of(final), missing, directory) as file:
            try:
                _check_new(final, directory)  # the run that held the lock may have ended well
                if shared:
                    _lock(file, fcntl.LOCK_SH, directory)
                yield final
            finally:
                _remove(_lock_of(final), file)
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def joined(final: Path) -> Iterator[None]:
    """Hold a name, too, that another process of the run has in ``reserved`` with ``shared``."""
    try:
        file = FileIO(_lock_of(final))
    except OSError as error:
        raise UsageError(f"--out: {shown(final)}: {problem_text(error)}") from None
    with file:
        _lock(file, fcntl.LOCK_SH, final)
        yield


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
    """The path of a new folder beside the final one, which is yet to be made."""
    return final.with_name(f"{final.name}.partial-{secrets.token_hex(8)}")


def publish(partial: Path, final: Path) -> None:
    """Give the partial folder, whose files are on the disk, its final name, for good."""
    sync(partial)
    partial.rename(final)  # never over what holds anything, were it made since
    sync(final.parent)


def _lock_of(final: Path) -> Path:
    return final.with_name(f".{final.name}.fastinit-lock")


def _check_new(final: Path, directory: Path) -> None:
    if os.path.lexists(final):
        raise UsageError(f"--out: expected a directory that does not exist, got {shown(directory)}")


def _locked(path: Path, missing: list[Path], directory: Path) -> FileIO:
    """The file of this name, with the lock on it; it is made, and the folders missing above."""
    try:
        if missing:
            path.parent.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync(folder.parent)
        while True:
            # It is closed with its last reference: an interrupt in any moment leaves no lock.
            file, made = _opened(path)
            if not _lock(file, fcntl.LOCK_EX, directory) and not made:
                file.close()
                raise UsageError(  # whoever makes the file holds the name
                    f"--out: another run is writing {shown(directory)}, or was killed; this file system has no locks: "
                    f"if there is none, remove {shown(path)}"
                )
            if _is_still(path, file):
                return file
            file.close()
    except OSError as error:
        raise UsageError(f"--out: {shown(directory)}: {problem_text(error)}") from None


def _opened(path: Path) -> tuple[FileIO, bool]:
    """The lock's file, and whether it was made just now."""
    while True:
        with suppress(FileExistsError):
            return FileIO(path, "x+"), True
        with suppress(FileNotFoundError):  # or its run ends in this moment
            if path.is_symlink():
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            return FileIO(path, "r+"), False


def _lock(file: FileIO, how: int, directory: Path) -> bool:
    """Lock the file; ``UsageError`` where another run holds it. False for a file system without locks."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UsageError(f"--out: another run is writing {shown(directory)}") from None
    except OSError:
        return False
    return True


def _remove(path: Path, file: FileIO) -> None:
    """Remove the file of a lock, unless others hold it, too: they may be gone only after the next run has looked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    except OSError:
        pass  # a file system without locks
    with suppress(OSError):
        path.unlink()


def _is_still(path: Path, file: FileIO) -> bool:
    """Whether the name is still that of the file: the run that held the lock removes it when it ends."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
