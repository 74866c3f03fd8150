"""``python -m fastinit plan``: which law each parameter would be filled by, without filling it."""

from argparse import Namespace
from pathlib import Path

import torch

from fastinit.checkpoint.errors import UsageError
from fastinit.cli.framework import build_of, recorded
from fastinit.cli.source import asked_plan, of_preset, on_meta
from fastinit.model.presets import preset, presets
from fastinit.model.report import law_text, shape_text, table
from fastinit.model.shown import shown
from fastinit.recipe.recipe import Recipe

_HEADER = ("parameter", "role", "law", "shape")


def run(arguments: Namespace) -> int:
    """Print a row a parameter; 1 when a recipe is not the one of ``--diff``, else 0."""
    source, is_preset = arguments.source, arguments.source in presets()
    if (source is None) == (arguments.recipe is None):
        raise UsageError("expected a SOURCE or --recipe, and not both")
    method = arguments.method or ("normal" if is_preset else "own")
    if arguments.recipe is not None and method != "own":
        raise UsageError("--rules: expected none with --recipe, which has laws of its own")
    if method == "own":
        if is_preset:
            raise UsageError("--rules: expected a method for a preset, which has no initialisation of its own, got own")
        if arguments.std is not None:
            raise UsageError("--std: expected none with the rules of the model itself")
        recipe = _loaded(arguments.recipe) if source is None else recorded(source, build_of(source))
        return _own(recipe, arguments)
    for name in ("save", "diff"):
        if getattr(arguments, name) is not None:
            raise UsageError(f"--{name}: expected the rules of the model itself, --rules own, got {method}")
    if is_preset:
        known = preset(source)
        model = of_preset(known, known.num_layers, getattr(torch, known.dtype))
    else:
        model = on_meta(source, build_of(source))
    arguments.method, arguments.std = method, 0.02 if arguments.std is None else arguments.std
    plan = asked_plan(model, arguments)
    print(table(_HEADER, [(shown(p.name), p.role, law_text(p.law), shape_text(p.global_shape)) for p in plan]))
    return 0


def _own(recipe: Recipe, arguments: Namespace) -> int:
    """The recipe: printed, or compared, and stored."""
    if arguments.save is not None:
        try:
            recipe.save(arguments.save)
        except ValueError as error:
            raise UsageError(f"--save: {error}") from None
    if arguments.diff is None:
        print(recipe)
        return 0
    difference = recipe.diff(_loaded(arguments.diff))
    print(difference)
    return 1 if difference else 0


def _loaded(path: str) -> Recipe:
    try:
        return Recipe.load(Path(path))
    except ValueError as error:
        raise UsageError(str(error).removeprefix("path: ")) from None
