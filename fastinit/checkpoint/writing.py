"""A checkpoint: sharded safetensors with an index, filled in place in their files, a tensor at a time.

The memory of a file is mapped and filled, so nothing is held but the page cache. Everything
is written to a partial folder, which gets its name when all is on the disk; one that a signal or a power cut left is gone on
with by ``resume``, which trusts nothing in it but what it proves.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from fastinit.checkpoint import place
from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.errors import Stopped, UsageError
from fastinit.checkpoint.files import problem_text, sync
from fastinit.checkpoint.index import INDEX, UNFINISHED, Index, index_of
from fastinit.checkpoint.proof import file_problems
from fastinit.checkpoint.resume import make_resumable
from fastinit.checkpoint.shard_file import header_bytes, write_file
from fastinit.model.shown import shown, size_text

_BLOCK = 4096  # bytes; what a file takes on a disk is a multiple of it


def write(
    directory: Path, contents: Contents, shard_size: int, advance: Callable[[int], object], resume: bool = False
) -> tuple[int, int]:
    """Write files of at most so many bytes of tensors, the index, and what lies beside; the folder appears when all is there.

    With ``resume`` files of an earlier, partial run that prove to be right stay; the result is how many files there are, and
    how many did. ``advance`` is told the bytes that are done. Raises ``UsageError`` for a name that is not to be had, a disk
    that is too small, or a partial checkpoint that stands in the way, and ``Stopped``, which names the partial folder, for
    an interrupt.
    """
    index = index_of(contents, shard_size)
    groups = {file: contents.only(names) for file, names in index.groups().items()}
    with place.reserved(directory) as final:
        found = place.partial_of(final)
        if found and not resume:
            raise UsageError(
                f"--out: a partial checkpoint lies in {shown(found)}: --resume goes on with it, or else remove it"
            )
        if found:
            make_resumable(found, index, contents.beside)
        _check_space(final.parent, found, groups)
        partial = found or place.new_partial(final)
        done = proven = 0
        try:
            _write_beside(partial, index, contents.beside)
            for file, group in groups.items():
                was_there = found is not None and not any(file_problems(partial / file, group))
                if was_there:
                    sync(partial / file)
                    advance(group.total_size)
                else:
                    write_file(partial / file, group, advance)
                done += 1
                proven += was_there
            (partial / UNFINISHED).rename(partial / INDEX)
            place.publish(partial, final)
        except KeyboardInterrupt as stop:
            number = stop.number if isinstance(stop, Stopped) else Stopped().number
            raise Stopped(number, _left(partial, done, len(groups), keep=done > 0 or found is not None)) from None
        except OSError as error:
            left = _left(partial, done, len(groups), keep=done == len(groups) or found is not None)
            raise UsageError(f"--out: {shown(directory)}: {problem_text(error)}; {left}") from None
        except BaseException:
            _left(partial, done, len(groups), keep=found is not None)
            raise
        return len(groups), proven


def _write_beside(partial: Path, index: Index, beside: Mapping[str, bytes]) -> None:
    """Write the index, and the files that hold no tensor, each waited for."""
    if not (
        partial / UNFINISHED
    ).exists():  # one that is there is right, and a kill while it is written again would spoil it
        (partial / UNFINISHED).write_bytes(index.text())
    sync(partial / UNFINISHED)
    for name, text in beside.items():
        (partial / name).unlink(missing_ok=True)  # it may be a link to elsewhere
        (partial / name).write_bytes(text)
        sync(partial / name)


def _left(partial: Path, done: int, count: int, keep: bool) -> str:
    """What a run that ends early leaves, in a few words: its partial folder, or nothing."""
    if not partial.exists():
        return "all files are in place"
    if keep:
        return f"{done} of {count} files are in {shown(partial)}: --resume goes on with them"
    shutil.rmtree(partial, ignore_errors=True)
    return "what was written is removed"


def _check_space(parent: Path, partial: Path | None, groups: Mapping[str, Contents]) -> None:
    """Raise ``UsageError`` unless the disk has room for what the partial folder does not hold yet."""
    sizes = (len(header_bytes(group)) + group.total_size for group in groups.values())
    needed = sum(-(-size // _BLOCK) * _BLOCK for size in sizes)
    if partial:
        with os.scandir(partial) as entries:
            needed -= sum(entry.stat(follow_symlinks=False).st_blocks * 512 for entry in entries)
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise UsageError(f"--out: {size_text(needed)} are needed, and {size_text(free)} are free in {shown(parent)}")
