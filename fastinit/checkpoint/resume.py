"""Whether a partial checkpoint may be gone on with: it is of the run that is asked for, and holds nothing else."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.files import open_regular, parse_json
from fastinit.checkpoint.index import INDEX, UNFINISHED, Index, parsed_index
from fastinit.checkpoint.shard_file import read_header
from fastinit.model.shown import shown


def make_resumable(partial: Path, index: Index, beside: Collection[str]) -> None:
    """Raise ``UsageError`` unless a run that would have written this index left the folder.

    Where the index is lost or torn, the headers of the files say of which run they are; it is removed, to be written again.
    What is wrong with the files themselves is for the proof to find, and they are written again, too.
    """
    if (partial / INDEX).is_file():  # it ended between its last two steps
        (partial / INDEX).rename(partial / UNFINISHED)
    with os.scandir(partial) as entries:
        is_folder = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    strangers = sorted(is_folder.keys() - {UNFINISHED, *index.files.values(), *beside})
    if strangers:
        raise UsageError(f"--resume: {shown(partial)} holds what is no part of it: {', '.join(map(shown, strangers))}")
    folders = [shown(partial / name) for name in sorted(is_folder) if is_folder[name]]
    if folders:
        raise UsageError(f"--resume: expected files, got folders: remove {', '.join(folders)}")
    if not _is_kept(partial, is_folder.keys() & set(index.files.values()), index):
        (partial / UNFINISHED).unlink(missing_ok=True)


def _is_kept(partial: Path, files: set[str], index: Index) -> bool:
    """Whether the index in the folder is the one that is to be there; ``UsageError`` if the folder is of another run."""
    if not files:  # it ended before its first file, and perhaps while it wrote the index
        return False
    try:
        stored = parsed_index(partial / UNFINISHED)
    except (OSError, ValueError):
        for file in files:
            _check_document(partial, _document(partial / file, index), index.document)
        return False
    _check_document(partial, stored.document, index.document)
    if stored != index:
        raise UsageError(f"--resume: {shown(partial)} is of another recipe: other tensors, or other files")
    return True


def _document(path: Path, index: Index) -> Any:
    """What the header of a file says; what it should say where there is no header, as the file is written again then."""
    try:
        with open_regular(path) as file:
            return parse_json(read_header(file).metadata["fastinit"].encode())
    except (OSError, ValueError, KeyError, AttributeError):
        return index.document


def _check_document(partial: Path, stored: Any, wanted: Mapping[str, Any]) -> None:
    """Raise ``UsageError`` for a document that says anything else, but for which tensors; those a part of it may say."""
    stored = stored if isinstance(stored, dict) else {}
    other = [key for key in wanted if key not in ("tensors", "beside") and stored.get(key) != wanted[key]]
    if other:
        said = ", ".join(f"{shown(key)} {shown(stored.get(key))}" for key in other)
        raise UsageError(f"--resume: {shown(partial)} is of another recipe: {said}")
