"""Published mixture-of-experts architectures as data: their sizes, names, laws and files. skeleton.py makes models of them.

Each is a file of the folder presets, by tools/presets.py, with patterns of names: ``layers.{0..15}.mlp.experts.{0..63}.w1``.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from math import prod
from typing import Any

from fastinit.model.roles import Named, Role

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Preset:
    """One architecture. ``parameters`` is the number that its authors' files hold; ``d_model`` and ``num_layers`` are the model's.

    ``config`` is the published config.json. ``tensors`` are the live model's parameters and buffers as a recipe's JSON has them,
    and ``files`` those that its files have: a row ``of`` a part of a live one says which, as Python indexes it. ``roles`` are for
    the rules of a method, where a name alone does not tell.
    """

    name: str
    model: str
    sources: tuple[str, ...]
    parameters: int
    dtype: str
    d_model: int
    num_layers: int
    roles: tuple[tuple[str, str, str], ...]
    config: Row
    tensors: tuple[Row, ...]
    files: tuple[Row, ...]

    @property
    def patterns(self) -> tuple[Named, ...]:
        """The roles of names that roles.py has not, or has for another layout."""
        return tuple(Named(pattern, Role(role), inputs) for pattern, role, inputs in self.roles)

    def live(self, layers: int | None = None) -> Iterator[Row]:
        """The rows of the live model's tensors, in its order, of the first layers."""
        return expanded(self.tensors, self.num_layers if layers is None else layers)

    def published(self, layers: int | None = None) -> Iterator[Row]:
        """The rows of the files' tensors, in their order."""
        return expanded(self.files, self.num_layers if layers is None else layers)

    def numel(self, layers: int) -> int:
        """Elements of the tensors of so many layers.

        >>> preset("olmoe-1b-7b").numel(layers=16)
        6919161856
        """
        return sum(prod(row["shape"]) for row in self.live(layers))

    def config_of(self, layers: int, dtype: str) -> Row:
        """The config of a model of so many layers, and of a dtype."""
        config = {**self.config, "num_hidden_layers": layers}
        if "layer_types" in config:
            config["layer_types"] = config["layer_types"][:layers]
        config.pop("torch_dtype", None)
        return {**config, "dtype": dtype}


@cache
def presets() -> dict[str, Preset]:
    """All presets by name.

    >>> sorted(presets())
    ['deepseek-v3', 'gpt-oss-120b', 'mixtral-8x7b', 'olmoe-1b-7b', 'qwen3-30b-a3b', 'tiny-moe']
    """
    folder = files("fastinit.model") / "presets"
    texts = {path.name.removesuffix(".json"): path.read_text("utf-8") for path in folder.iterdir()}
    found = [read(name, text) for name, text in texts.items()]
    return {known.name: known for known in sorted(found, key=lambda known: -known.parameters)}


def read(name: str, text: str) -> Preset:
    """The preset in a JSON text."""
    row = json.loads(text)
    fields = {field: tuple(row[field]) for field in ("sources", "tensors", "files")}
    return Preset(**{**row, **fields, "name": name, "roles": tuple(map(tuple, row["roles"]))})


def preset(name: str) -> Preset:
    """The preset called ``name``.

    >>> preset("mixtral-8x7b").d_model
    4096

    Raises ``ValueError``, with all the names, for one that is not there.
    """
    try:
        return presets()[name]
    except KeyError:
        raise ValueError(f"preset: expected one of {', '.join(presets())}, got {name!r}") from None


def expanded(rows: Sequence[Row], layers: int) -> Iterator[Row]:
    """The rows that some patterns stand for: those next to each other with the same first range are one layer after another.

    >>> [row["name"] for row in expanded([{"name": "h.{0..1}.a"}, {"name": "h.{0..1}.b.{7..8}"}], 2)]
    ['h.0.a', 'h.0.b.7', 'h.0.b.8', 'h.1.a', 'h.1.b.7', 'h.1.b.8']

    In ``of``, {0} is the number of the layer and {1} the second one.
    """
    for span, members in groupby(rows, key=_first_range):
        group = list(members)
        if span is None:
            yield from group
            continue
        _, first, last = span
        for layer in range(first, min(last + 1, layers)):
            for row in group:
                yield from _one_layer(row, layer)


def _first_range(row: Row) -> tuple[str, int, int] | None:
    found = _RANGE.search(row["name"])
    return found and (row["name"][: found.start()], int(found[1]), int(found[2]))


def _one_layer(row: Row, layer: int) -> Iterator[Row]:
    name = _RANGE.sub(str(layer), row["name"], count=1)
    second = _RANGE.search(name)
    numbers = range(int(second[1]), int(second[2]) + 1) if second else (0,)
    for number in numbers:
        found = {**row, "name": _RANGE.sub(str(number), name)}
        if "of" in row:
            found["of"] = row["of"].replace("{0}", str(layer)).replace("{1}", str(number))
        yield found
