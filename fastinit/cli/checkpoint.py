"""A checkpoint of a preset: sharded safetensors with an index, filled in place in their files, and proved from its metadata.

Each tensor is a file of its own, of which the memory is mapped and filled, so nothing is held but the page cache. Everything
is written to a folder of another name, which is renamed at the end: what has the asked name is whole.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastinit.cli.errors import UsageError
from fastinit.geometry import LocalShard
from fastinit.version import STREAM_VERSION

INDEX = "model.safetensors.index.json"
_CHUNK = 2**26  # elements that are regenerated at a time
_FORMAT_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64"}
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def write(
    directory: Path,
    shapes: dict[str, tuple[int, ...]],
    dtype: torch.dtype,
    recipe: dict[str, Any],
    fill: Callable[[str, Tensor], object],
    advance: Callable[[int], object],
) -> None:
    """Write each tensor by ``fill(name, tensor)``, then the index with the recipe; the folder appears when all is there."""
    if directory.exists():
        raise UsageError(f"--out: expected a directory that does not exist, got {directory}")
    partial = directory.with_name(f"{directory.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        files = {}
        for k, (name, shape) in enumerate(shapes.items(), 1):
            files[name] = f"model-{k:05d}-of-{len(shapes):05d}.safetensors"
            tensor = _mapped(partial / files[name], name, shape, dtype, recipe)
            fill(name, tensor)
            advance(tensor.numel())
            del tensor
        size = sum(torch.Size(shape).numel() for shape in shapes.values()) * dtype.itemsize
        index = {"metadata": {"total_size": size, **recipe}, "weight_map": files}
        (partial / INDEX).write_text(json.dumps(index, indent=1) + "\n")
        partial.rename(directory)
    except BaseException:  # an interrupt too
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _mapped(path: Path, name: str, shape: tuple[int, ...], dtype: torch.dtype, recipe: dict[str, Any]) -> Tensor:
    """A safetensors file of one tensor, as a tensor that shares the file's memory.

    The format: the header's length in 8 bytes, the header in JSON, the data. safetensors itself writes from memory that
    is already filled; tests read these files with it.
    """
    elements = torch.Size(shape).numel()
    size = elements * dtype.itemsize
    header = {
        "__metadata__": {"format": "pt", **{key: str(value) for key, value in recipe.items()}},
        name: {"dtype": _FORMAT_NAMES[dtype], "shape": list(shape), "data_offsets": [0, size]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)  # so that the data is aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)
    whole = torch.from_file(str(path), shared=True, size=8 + len(text) + size, dtype=torch.uint8)
    return whole[8 + len(text) :].view(dtype).view(shape)


def recipe_of(directory: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The recipe and the weight map of a checkpoint, from its index."""
    path = directory / INDEX
    try:
        index = json.loads(path.read_text())
        recipe, files = index["metadata"], index["weight_map"]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{directory}: expected a checkpoint with {INDEX}, got {type(error).__name__}: {error}"
        ) from None
    if recipe.get("stream_version") != STREAM_VERSION:
        raise UsageError(
            f"{directory}: expected stream version {STREAM_VERSION}, got {recipe.get('stream_version')!r}: "
            "another version of fastinit wrote it, or none"
        )
    return recipe, files


def differing(
    path: Path, name: str, shape: tuple[int, ...], dtype: torch.dtype, fill: Callable[..., object]
) -> str | None:
    """What is wrong with a tensor of a checkpoint, in a few words; None when its bits are what ``fill`` gives.

    ``fill(name, tensor, shard)`` regenerates a part. At most ``_CHUNK`` elements, or one row, are held at a time.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            stored = file.get_slice(name)
            if (tuple(stored.get_shape()), stored.get_dtype()) != (shape, _FORMAT_NAMES[dtype]):
                return (
                    f"{stored.get_dtype()} of {tuple(stored.get_shape())}, expected {_FORMAT_NAMES[dtype]} of {shape}"
                )
            rows = max(1, _CHUNK // max(1, torch.Size(shape[1:]).numel()))
            wrong, first = 0, -1
            for begin in range(0, shape[0], rows):
                part = stored[begin : begin + rows]
                again = torch.empty_like(part)
                fill(name, again, LocalShard(shape, (begin, *[0] * (len(shape) - 1))))
                different = (part.view(_BITS[dtype.itemsize]) != again.view(_BITS[dtype.itemsize])).flatten()
                count = int(different.count_nonzero())
                if count and first < 0:
                    first = begin * torch.Size(shape[1:]).numel() + int(different.nonzero()[0])
                wrong += count
            return f"{wrong:,} elements differ, the first at index {first}" if wrong else None
    except (OSError, SafetensorError) as error:
        return f"cannot be read: {error}"
