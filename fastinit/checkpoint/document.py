"""The recipe of a checkpoint as its metadata have it: all that its values follow from, as JSON.

    {"format": 1, "stream_version": 1, "source": "olmoe-1b-7b", "rules": "own", "seed": 0,
     "tensors": [{"name": "lm_head.weight", "dtype": "bfloat16", "shape": [50304, 2048],
                  "tiles": [{"law": "Normal", "mean": 0.0, "std": 0.02}]}],
     "beside": {"config.json": "<sha256>"}}

A tensor whose values no law describes has ``"derived": true`` in the place of tiles: it can be made again from its source alone.
"""

import hashlib
import json
from typing import Any

import torch

from fastinit.checkpoint.contents import Contents
from fastinit.law.transformed import Constant
from fastinit.model.shown import quoted, shown
from fastinit.recipe.entries import Entry
from fastinit.recipe.stored import entry_from, entry_json
from fastinit.shard.storage import DTYPES, STORED, dtype_name
from fastinit.stream import Key
from fastinit.version import STREAM_VERSION

DOCUMENT = "fastinit.json"  # its file, where there are no headers to hold it
_FORMAT = 1
_DTYPES = {dtype_name(dtype): dtype for dtype in STORED}
_KEYS = {"format", "stream_version", "source", "rules", "seed", "tensors", "beside"}


def document_of(contents: Contents) -> dict[str, Any]:
    """The document that says all of the contents."""
    return {
        "format": _FORMAT,
        "stream_version": STREAM_VERSION,
        "source": contents.source,
        "rules": contents.rules,
        "seed": contents.seed,
        "tensors": [_row(entry, contents.dtypes[name]) for name, entry in contents.entries.items()],
        "beside": {name: hashlib.sha256(text).hexdigest() for name, text in contents.beside.items()},
    }


def contents_from(document: Any) -> Contents:
    """The contents that a document says; those of what is derived, and of what lies beside, are not in it.

    Raises ``TypeError`` or ``ValueError`` for a document that no run of this version writes.
    """
    if not isinstance(document, dict) or document.keys() != _KEYS:
        raise ValueError(f"expected an object of {', '.join(sorted(_KEYS))}")
    for key, version in (("format", _FORMAT), ("stream_version", STREAM_VERSION)):
        if type(document[key]) is not int or document[key] != version:
            raise ValueError(
                f"{key}: expected {version}, got {quoted(document[key])}: another version of fastinit wrote it, or none"
            )
    for key, kind in (("source", str), ("rules", str), ("seed", int), ("tensors", list), ("beside", dict)):
        if type(document[key]) is not kind:  # a bool is no int here
            raise TypeError(f"{key}: expected {kind.__name__}, got {quoted(document[key])}")
    Key(document["seed"])
    entries: dict[str, Entry] = {}
    dtypes = {}
    for row in document["tensors"]:
        entry, dtype = _read(row)
        if entry.name in entries:
            raise ValueError(f"{shown(entry.name)}: is there twice")
        entries[entry.name], dtypes[entry.name] = entry, dtype
    found = Contents(document["source"], document["rules"], document["seed"], entries, dtypes)
    if _text(document_of(found) | {"beside": document["beside"]}) != _text(document):  # 0 for 0.0, or more than is read
        raise ValueError("tensors: not as they are written")
    return found


def summary(contents: Contents) -> str:
    """What was asked for, for people."""
    return f"{shown(contents.source)}, rules {shown(contents.rules)}, seed {contents.seed}"


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, sort_keys=True)


def _row(entry: Entry, dtype: torch.dtype) -> dict[str, Any]:
    row = entry_json(entry)
    values = {"tiles": row["tiles"]} if entry.tiles else {"derived": True}
    return {"name": entry.name, "dtype": dtype_name(dtype), "shape": row["shape"], **values}


def _read(row: Any) -> tuple[Entry, torch.dtype]:
    if not isinstance(row, dict) or row.keys() - {"tiles", "derived"} != {"name", "dtype", "shape"} or len(row) != 4:
        raise ValueError("a tensor without name, dtype, shape, and tiles or derived, or with more")
    if row["dtype"] not in _DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(_DTYPES)}, got {shown(row['dtype'])}")
    try:
        entry = entry_from({"tiles": (), **row})
    except (KeyError, AttributeError) as error:
        raise ValueError(f"{shown(row['name'])}: {type(error).__name__}: {error}") from None
    dtype = _DTYPES[row["dtype"]]
    if dtype not in DTYPES and not all(isinstance(tile.law, Constant) for tile in entry.tiles):
        raise ValueError(f"{shown(entry.name)}: expected whole numbers that are the same everywhere, or derived")
    return entry, dtype
