"""A checkpoint of a model of a few elements a tensor, for tests that write hundreds of them."""

import json
from pathlib import Path

from fastinit import __main__ as cli
from fastinit.model.presets import presets
from fastinit.model.presets import read as read_preset

INDEX = "model.safetensors.index.json"
MICRO = read_preset("micro-moe", (Path(__file__).parent / "data" / "micro-moe.json").read_text("utf-8"))
FILES = 18
SMALL = ("--shard-size", "1")  # a file for each tensor


def with_micro(monkeypatch):
    """The preset micro-moe, for as long as the patch lasts."""
    monkeypatch.setitem(presets(), MICRO.name, MICRO)


def write(directory, *options):
    """The exit code of writing micro-moe to a folder."""
    return cli.main(
        ["init", MICRO.name, "--method", "llama_depth", "--seed", "7", "--out", str(directory), *SMALL, *options]
    )


def read(directory):
    """Every file of a folder: name -> bytes."""
    return {path.name: path.read_bytes() for path in Path(directory).iterdir()}


def weight_map(directory):
    """Tensor -> file, as the index says."""
    return json.loads((directory / INDEX).read_text())["weight_map"]


def split(raw):
    """The header of a safetensors file as a JSON value, and its data."""
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def joined(header, data):
    """The safetensors file of a header and data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def document(directory):
    """What the index says that all values follow from."""
    return json.loads((directory / INDEX).read_text())["metadata"]["fastinit"]


def header_document(path):
    """What the header of a file says so of its own tensors."""
    return json.loads(split(path.read_bytes())[0]["__metadata__"]["fastinit"])


def flip(path):
    """Turn the last bit of a file over."""
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
