"""A preset as a live model with its own laws: from the data of model/presets.py, without transformers."""

import json
from functools import partial

import torch

from fastinit.checkpoint.layout import Cut, Laid, Layout, as_it_is
from fastinit.checkpoint.live import Live
from fastinit.model.presets import Preset
from fastinit.model.skeleton import build
from fastinit.recipe.boxes import Box
from fastinit.recipe.recipe import Recipe
from fastinit.recipe.stored import entry_from
from fastinit.shard.geometry import LocalShard, Shape
from fastinit.shard.storage import dtype_name

_INIT = "initialize_weights"  # as transformers calls it
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def of_preset(known: Preset, layers: int | None = None, dtype: torch.dtype | None = None) -> Live:
    """The first layers of a preset, or all, in its dtype or another."""
    layers = known.num_layers if layers is None else layers
    dtype = dtype or getattr(torch, known.dtype)
    return Live(
        build(known, layers, dtype),
        recipe_of(known, layers),
        tuple(entry_from(row) for row in known.live(layers) if "buffer" in row),
        lambda live: layout_of(known, layers, live),
        partial(_beside, known, layers, dtype),
    )


def recipe_of(known: Preset, layers: int | None = None) -> Recipe:
    """What transformers' own initialisation of the model does: the recipe that ``record`` makes there."""
    entries = (entry_from(row) for row in known.live(layers) if "buffer" not in row)
    return Recipe(known.config["architectures"][0], _INIT, tuple(entries))


def layout_of(known: Preset, layers: int, live: Live) -> Layout:
    """The layout of the published files."""
    shapes = {name: tuple(tensor.shape) for name, tensor in live.tensors.items()}
    return {row["name"]: _part(row.get("of") or row["name"], shapes) for row in known.published(layers)}


def _part(of: str, shapes: dict[str, Shape]) -> Laid:
    """A part of a live tensor, from its text: a number takes one index, as in Python.

    >>> _part("experts.w1[3, 0:2]", {"experts.w1": (8, 4, 5)})
    Laid(shape=(2, 5), cuts=(Cut(box=Box(offset=(0, 0), shape=(2, 5)), source='experts.w1', \
shard=LocalShard(global_shape=(8, 4, 5), global_offset=(3, 0, 0)), dims=(-1, 0, 1)),))
    """
    source, _, index = of.removesuffix("]").partition("[")
    whole = shapes[source]
    if not index:
        return as_it_is(source, whole)
    parts = [part.strip() for part in index.split(",")]
    parts += [":"] * (len(whole) - len(parts))
    offset: list[int] = []
    shape: list[int] = []
    dims: list[int] = []
    for part, size in zip(parts, whole, strict=True):
        begin, colon, end = part.partition(":")
        first = int(begin or 0)
        offset.append(first)
        dims.append(len(shape) if colon else -1)
        if colon:
            shape.append(int(end or size) - first)
    own = () if len(shape) == len(whole) else tuple(dims)
    return Laid(tuple(shape), (Cut(Box.whole(tuple(shape)), source, LocalShard(whole, tuple(offset)), own),))


def _beside(known: Preset, layers: int, dtype: torch.dtype) -> dict[str, bytes]:
    """config.json and generation_config.json."""
    config = known.config_of(layers, dtype_name(dtype))
    ids = {name: config[name] for name in _IDS if config.get(name) is not None}
    texts = {"config.json": config, "generation_config.json": {"_from_model_config": True, **ids}}
    return {name: (json.dumps(content, indent=2, sort_keys=True) + "\n").encode() for name, content in texts.items()}
