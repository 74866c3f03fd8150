"""The recipe of a checkpoint: what its metadata say, and all that its values follow from."""

from argparse import Namespace
from typing import Any

import torch

from fastinit.model.plan import plan_of
from fastinit.model.planned import Planned
from fastinit.model.presets import Preset, preset, presets
from fastinit.model.rules import METHODS
from fastinit.model.scheme import Scheme
from fastinit.model.shown import quoted, shown
from fastinit.model.skeleton import build
from fastinit.shard.storage import DTYPES, dtype_name
from fastinit.version import STREAM_VERSION

_TYPES = {
    "preset": str,
    "layers": int,
    "method": str,
    "std": float,
    "seed": int,
    "dtype": str,
    "stream_version": int,
}
_DTYPES = {dtype_name(dtype): dtype for dtype in DTYPES}


def recipe_of(known: Preset, layers: int, dtype: torch.dtype, arguments: Namespace) -> dict[str, Any]:
    """The recipe that the options of a command ask for."""
    return {
        "preset": known.name,
        "layers": layers,
        "method": arguments.method,
        "std": arguments.std,
        "seed": arguments.seed,
        "dtype": dtype_name(dtype),
        "stream_version": STREAM_VERSION,
    }


def recipe_text(recipe: dict[str, Any]) -> str:
    """All of it for people, but for the version of the stream."""
    return (
        f"{recipe['preset']}, {recipe['layers']} layers, method {recipe['method']}, std {recipe['std']}, "
        f"seed {recipe['seed']}, {recipe['dtype']}"
    )


def plan_of_recipe(recipe: dict[str, Any]) -> tuple[list[Planned], torch.dtype]:
    """The plan and the dtype that a recipe means. Raises ``TypeError`` or ``ValueError`` for one that no run writes."""
    if recipe.keys() != _TYPES.keys():
        raise ValueError(f"expected {', '.join(_TYPES)}, got {', '.join(map(shown, recipe))}")
    for key, kind in _TYPES.items():
        if type(recipe[key]) is not kind:  # a bool is no int here
            raise TypeError(f"{key}: expected {kind.__name__}, got {quoted(recipe[key])}")
    for key, known in (("preset", presets()), ("method", METHODS), ("dtype", _DTYPES)):
        if recipe[key] not in known:
            raise ValueError(f"{key}: expected one of {', '.join(known)}, got {shown(recipe[key])}")
    if recipe["layers"] < 1:
        raise ValueError(f"layers: expected an integer >= 1, got {recipe['layers']}")
    dtype = _DTYPES[recipe["dtype"]]
    model = build(preset(recipe["preset"]), recipe["layers"]).to(dtype)
    return plan_of(model, Scheme(recipe["method"], seed=recipe["seed"], std=recipe["std"])), dtype
