"""The index of a checkpoint: the document that all values follow from, and the file that holds each tensor."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.document import document_of
from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.files import JSON_LIMIT, open_regular, parse_json, problem_text
from fastinit.model.shown import quoted, shown

INDEX = "model.safetensors.index.json"
UNFINISHED = f"{INDEX}.partial"  # its name until all files are there


@dataclass(frozen=True, slots=True)
class Index:
    """What the index says: ``files`` has a plain file name for each tensor's name, ``total_size`` is in bytes."""

    document: Any
    total_size: int
    files: dict[str, str]

    def text(self) -> bytes:
        """The file's content."""
        metadata = {"total_size": self.total_size, "fastinit": self.document}
        return (json.dumps({"metadata": metadata, "weight_map": self.files}, indent=1) + "\n").encode()

    def groups(self) -> dict[str, list[str]]:
        """The tensors of each file, in their order."""
        groups: dict[str, list[str]] = {file: [] for file in self.files.values()}
        for name, file in self.files.items():
            groups[file].append(name)
        return groups


def index_of(contents: Contents, shard_size: int) -> Index:
    """The index of a new checkpoint, whose files hold at most so many bytes of tensors, or one tensor that is larger."""
    groups: list[list[str]] = []
    size = 0
    for name in contents:
        size += contents.size(name)
        if not groups or size > shard_size:
            groups.append([])
            size = contents.size(name)
        groups[-1].append(name)
    names = {
        name: f"model-{k:05d}-of-{len(groups):05d}.safetensors" for k, group in enumerate(groups, 1) for name in group
    }
    return Index(json.loads(json.dumps(document_of(contents))), contents.total_size, names)


def header_metadata(contents: Contents) -> dict[str, str]:
    """What the header of a file says beside its tensors, which are the contents: the document, as text."""
    return {"format": "pt", "fastinit": json.dumps(document_of(contents))}


def read_index(path: Path) -> Index:
    """The index in a file. Raises ``UsageError`` for what is none."""
    try:
        return parsed_index(path)
    except (OSError, ValueError) as error:
        reason = problem_text(error) if isinstance(error, OSError) else error
        raise UsageError(f"{shown(path.parent)}: expected a checkpoint with {path.name}: {reason}") from None


def parsed_index(path: Path) -> Index:
    """The index in a file, whatever its document says. Raises ``OSError`` or ``ValueError`` for what is none."""
    with open_regular(path) as file:
        return _parse(file.read(JSON_LIMIT + 1))


def weight_map(path: Path) -> dict[str, str]:
    """The file of each tensor in an index that anybody wrote. Raises ``OSError`` or ``ValueError`` for what is none."""
    with open_regular(path) as file:
        whole = _json(file.read(JSON_LIMIT + 1))
    files = whole.get("weight_map") if isinstance(whole, dict) else None
    if not isinstance(files, dict):
        raise ValueError("expected an object as weight_map")
    _check_plain(files)
    return files


def _json(text: bytes) -> Any:
    if len(text) > JSON_LIMIT:
        raise ValueError(f"it is longer than {JSON_LIMIT:,} bytes")
    return parse_json(text)


def _parse(text: bytes) -> Index:
    whole = _json(text)
    if not isinstance(whole, dict) or whole.keys() != {"metadata", "weight_map"}:
        raise ValueError("expected an object of metadata and weight_map, and nothing else")
    metadata, files = whole["metadata"], whole["weight_map"]
    if not isinstance(metadata, dict) or not isinstance(files, dict) or metadata.keys() != {"total_size", "fastinit"}:
        raise ValueError("expected metadata of total_size and fastinit, and an object as weight_map")
    size = metadata["total_size"]
    if type(size) is not int:  # nor a bool
        raise ValueError(f"total_size: expected an integer, got {quoted(size)}")
    _check_plain(files)
    return Index(metadata["fastinit"], size, files)


def _check_plain(files: Mapping[str, object]) -> None:
    """Raise ``ValueError`` unless each is a name in a folder, on every system: no separator, nothing that a terminal would obey."""
    for name, file in files.items():
        plain = (
            isinstance(file, str) and file.isprintable() and not set(file) & set("/\\") and file not in ("", ".", "..")
        )
        if not plain:
            raise ValueError(f"{shown(name)}: expected the name of a file in the folder, got {shown(file)}")
