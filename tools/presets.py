"""What the files of fastinit/model/presets say of tensors, made anew from the config in each: ``python tools/presets.py FILE...``

A new preset is a file with ``model``, ``sources``, ``dtype``, ``roles`` and the published ``config``. transformers is needed here,
and not where presets are used; tests/test_presets.py compares each with what transformers makes of its config.
"""

import json
import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from fastinit.checkpoint.layout import Cut, Laid, as_it_is
from fastinit.cli.framework import live_of
from fastinit.recipe.stored import entry_json
from fastinit.shard.storage import dtype_name

Row = dict[str, Any]
_FIRST = ("model", "sources", "parameters", "dtype", "d_model", "num_layers", "roles", "config")


def made(content: Row) -> Row:
    """The content of a preset's file, from what is in it by hand."""
    dtype = getattr(torch, content["dtype"])
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(content["config"]), "utf-8")
        known = live_of(folder, dtype)
    tensors = known.tensors
    rows = [_live(entry_json(entry), tensors[entry.name], dtype) for entry in known.recipe]
    rows += [{**_live(entry_json(entry), tensors[entry.name], dtype), "buffer": True} for entry in known.buffers]
    order = list(known.model.state_dict())
    rows.sort(key=lambda row: order.index(row["name"]))
    return {
        **content,
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "d_model": content["config"]["hidden_size"],
        "num_layers": content["config"]["num_hidden_layers"],
        "tensors": list(patterns(rows)),
        "files": list(patterns([_file(name, laid) for name, laid in known.layout("hf").items()])),
    }


def _live(row: Row, tensor: torch.Tensor, dtype: torch.dtype) -> Row:
    """A row of a recipe, with the dtype where it is another one."""
    return row if tensor.dtype == dtype else {**row, "dtype": dtype_name(tensor.dtype)}


def _file(name: str, laid: Laid) -> Row:
    (cut,) = laid.cuts
    if laid == as_it_is(name, laid.shape):
        return {"name": name}
    return {"name": name, "of": _indexed(cut)}


def _indexed(cut: Cut) -> str:
    """A part of a live tensor as Python indexes it; its dimensions must be in their order."""
    tile, shard = cut.tile, cut.shard
    assert [d for d in tile.along if d >= 0] == sorted(range(len(tile.shape))), cut
    parts = []
    for along, first, size, whole in zip(tile.along, shard.global_offset, tile.box, shard.global_shape, strict=True):
        parts.append(str(first) if along < 0 else ":" if size == whole else f"{first}:{first + size}")
    while parts and parts[-1] == ":":
        parts.pop()
    return f"{cut.source}[{', '.join(parts)}]" if parts else cut.source


def patterns(rows: list[Row]) -> Iterator[Row]:
    """The rows by pattern: layers that are alike as one, and in them what differs in one more number."""
    layers: list[tuple[int | None, list[Row]]] = []
    for number, members in groupby(rows, key=lambda row: _number(row["name"])):
        layers.append((number, list(_experts(list(members), number))))
    for _, alike in groupby(layers, key=lambda layer: (layer[0] is None, layer[1])):
        found = list(alike)
        first, last = found[0][0], found[-1][0]
        for row in found[0][1]:
            yield row if first is None else {**row, "name": row["name"].replace("{0}", f"{{{first}..{last}}}")}


def _number(name: str) -> int | None:
    found = re.search(r"\.(\d+)\.", name)
    return found and int(found[1])


def _experts(rows: list[Row], layer: int | None) -> Iterator[Row]:
    """The rows of a layer, without its number, and with a range for a second one."""
    if layer is None:
        yield from rows
        return
    plain = []
    for row in rows:
        name = row["name"].replace(f".{layer}.", ".{0}.", 1)
        second = _number(name)
        of = {"of": row["of"].replace(f".{layer}.", ".{0}.", 1)} if "of" in row else {}
        if second is not None:
            name = name.replace(f".{second}.", ".{1}.", 1)
            of = {"of": of["of"].replace(f"[{second}", "[{1}", 1)}
        plain.append((second, {**row, "name": name, **of}))
    for _, alike in groupby(plain, key=lambda found: found[1]):
        found = list(alike)
        first, last = found[0][0], found[-1][0]
        row = found[0][1]
        yield row if first is None else {**row, "name": row["name"].replace("{1}", f"{{{first}..{last}}}")}


def text(content: Row) -> str:
    """The content as JSON, with a line a tensor."""
    parts = [f' "{key}": {json.dumps(content[key])}' for key in _FIRST if key != "config"]
    config = json.dumps(content["config"], indent=1).replace("\n", "\n ")
    parts.append(f' "config": {config}')
    for key in ("tensors", "files"):
        rows = ",\n  ".join(json.dumps(row) for row in content[key])
        parts += [f' "{key}": [\n  {rows}\n ]']
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(text(made(json.loads(path.read_text("utf-8")))), "utf-8")
