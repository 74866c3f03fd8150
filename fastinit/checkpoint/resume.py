"""Whether a partial checkpoint may be gone on with: it is of the run that is asked for, and holds nothing else."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.files import open_regular
from fastinit.checkpoint.index import INDEX, UNFINISHED, Index, check_version, parsed_index
from fastinit.checkpoint.shard_file import read_header
from fastinit.model.shown import shown


def make_resumable(partial: Path, index: Index) -> None:
    """Raise ``UsageError`` unless a run that would have written this index left the folder.

    Where the index is lost or torn, the headers of the files say of which run they are; it is removed, to be written again.
    What is wrong with the files themselves is for the proof to find, and they are written again, too.
    """
    if (partial / INDEX).is_file():  # it ended between its last two steps
        (partial / INDEX).rename(partial / UNFINISHED)
    with os.scandir(partial) as entries:
        is_folder = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    strangers = sorted(is_folder.keys() - {UNFINISHED, *index.files.values()})
    if strangers:
        raise UsageError(f"--resume: {shown(partial)} holds what is no part of it: {', '.join(map(shown, strangers))}")
    folders = [shown(partial / name) for name in sorted(is_folder) if is_folder[name]]
    if folders:
        raise UsageError(f"--resume: expected files, got folders: remove {', '.join(folders)}")
    if not _is_kept(partial, is_folder.keys() - {UNFINISHED}, index):
        (partial / UNFINISHED).unlink(missing_ok=True)


def _is_kept(partial: Path, files: set[str], index: Index) -> bool:
    """Whether the index in the folder is the one that is to be there; ``UsageError`` if the folder is of another run."""
    if not files:  # it ended before its first file, and perhaps while it wrote the index
        return False
    try:
        stored = parsed_index(partial / UNFINISHED)
    except (OSError, ValueError):
        for file in files:
            _check_recipe(partial, _metadata(partial / file, index), index.header_metadata())
        return False
    check_version(partial, stored)
    _check_recipe(partial, stored.recipe, index.recipe)
    if stored != index:
        raise UsageError(f"--resume: {shown(partial)} is of another recipe: other tensors")
    return True


def _metadata(path: Path, index: Index) -> Mapping[str, Any]:
    """What the header of a file says; what it should say where there is no header, as the file is written again then."""
    try:
        with open_regular(path) as file:
            return read_header(file).metadata
    except (OSError, ValueError):
        return index.header_metadata()


def _check_recipe(partial: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    other = [key for key in sorted(stored.keys() | wanted.keys()) if stored.get(key) != wanted.get(key)]
    if other:
        said = ", ".join(f"{shown(key)} {shown(stored.get(key))}" for key in other)
        raise UsageError(f"--resume: {shown(partial)} is of another recipe: {said}")
