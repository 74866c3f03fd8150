"""The index of a checkpoint: the recipe that all values follow from, and the file that holds each tensor."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.files import JSON_LIMIT, open_regular, parse_json, problem_text
from fastinit.model.planned import Planned
from fastinit.model.shown import quoted, shown
from fastinit.version import STREAM_VERSION

INDEX = "model.safetensors.index.json"
UNFINISHED = f"{INDEX}.partial"  # its name until all files are there


@dataclass(frozen=True, slots=True)
class Index:
    """What the index says: ``files`` has a plain file name for each tensor's name, ``total_size`` is in bytes."""

    recipe: dict[str, Any]
    total_size: int
    files: dict[str, str]

    def text(self) -> bytes:
        """The file's content."""
        whole = {"metadata": {"total_size": self.total_size, **self.recipe}, "weight_map": self.files}
        return (json.dumps(whole, indent=1) + "\n").encode()

    def header_metadata(self) -> dict[str, str]:
        """The recipe as the header of each file holds it: every value as text."""
        return {"format": "pt", **{key: str(value) for key, value in self.recipe.items()}}


def index_of(recipe: dict[str, Any], plan: Sequence[Planned], dtype: torch.dtype) -> Index:
    """The index of a new checkpoint, with a file for each tensor."""
    files = {planned.name: f"model-{k:05d}-of-{len(plan):05d}.safetensors" for k, planned in enumerate(plan, 1)}
    return Index(recipe, sum(prod(planned.global_shape) for planned in plan) * dtype.itemsize, files)


def read_index(path: Path) -> Index:
    """The index in a file. Raises ``UsageError`` for what is none, or of another stream version; see the checks below."""
    try:
        index = parsed_index(path)
    except (OSError, ValueError) as error:
        reason = problem_text(error) if isinstance(error, OSError) else error
        raise UsageError(f"{shown(path.parent)}: expected a checkpoint with {path.name}: {reason}") from None
    check_version(path.parent, index)
    return index


def parsed_index(path: Path) -> Index:
    """The index in a file, of whatever version. Raises ``OSError`` or ``ValueError`` for what is none."""
    with open_regular(path) as file:
        return _parse(file.read(JSON_LIMIT + 1))


def check_version(directory: Path, index: Index) -> None:
    """Raise ``UsageError`` for an index of another stream version."""
    version = index.recipe.get("stream_version")
    if type(version) is not int or version != STREAM_VERSION:
        raise UsageError(
            f"{shown(directory)}: expected stream version {STREAM_VERSION}, got {quoted(version)}: "
            "another version of fastinit wrote it, or none"
        )


def _parse(text: bytes) -> Index:
    if len(text) > JSON_LIMIT:
        raise ValueError(f"it is longer than {JSON_LIMIT:,} bytes")
    whole = parse_json(text)
    if not isinstance(whole, dict) or whole.keys() != {"metadata", "weight_map"}:
        raise ValueError("expected an object of metadata and weight_map, and nothing else")
    recipe, files = whole["metadata"], whole["weight_map"]
    if not isinstance(recipe, dict) or not isinstance(files, dict):
        raise ValueError("expected objects as metadata and weight_map")
    size = recipe.pop("total_size", None)
    if type(size) is not int:  # nor a bool
        raise ValueError(f"total_size: expected an integer, got {quoted(size)}")
    for name, file in files.items():
        if not _is_plain(file):
            raise ValueError(f"{shown(name)}: expected the name of a file in the folder, got {shown(file)}")
    return Index(recipe, size, files)


def _is_plain(file: object) -> bool:
    """Whether it is a name in a folder, on every system: no separator, nothing that a terminal would obey."""
    return isinstance(file, str) and file.isprintable() and not set(file) & set("/\\") and file not in ("", ".", "..")
