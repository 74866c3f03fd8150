"""``python -m fastinit verify DIR``: is a checkpoint what its metadata says, bit for bit?"""

from argparse import Namespace
from math import prod
from pathlib import Path
from typing import Any

import torch

from fastinit.cli import text
from fastinit.cli.contents import Contents
from fastinit.cli.errors import UsageError
from fastinit.cli.index import INDEX, read_index
from fastinit.cli.init import RECIPE
from fastinit.cli.proof import folder_problems
from fastinit.model.filling import fill_planned_
from fastinit.model.plan import Planned, Scheme, plan_of
from fastinit.model.presets import preset, presets
from fastinit.model.rules import METHODS
from fastinit.model.skeleton import build

_DTYPES = {str(dtype)[6:]: dtype for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64)}


def run(arguments: Namespace) -> int:
    """Regenerate each tensor in parts and compare; 1 when anything in the folder is not as it was written, else 0."""
    directory = Path(arguments.directory)
    index = read_index(directory / INDEX)
    recipe = index.recipe
    try:
        plan, dtype = _planned(recipe)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{text.shown(directory)}: expected the metadata of a preset: {error}") from None
    by_name = {planned.name: planned for planned in plan}
    shapes = {name: planned.global_shape for name, planned in by_name.items()}
    contents = Contents(index, shapes, dtype, lambda name, part, box: fill_planned_(part, by_name[name], box))
    elements = sum(map(prod, shapes.values()))
    count = 0
    with text.bar(elements, "verifying") as advance:
        for name, problem in folder_problems(directory, contents, advance):
            print(f"{text.shown(name)}: {problem}")
            count += 1
    given = f"{recipe['preset']}, {recipe['layers']} layers, method {recipe['method']}, seed {recipe['seed']}"
    if count:
        print(f"{count} {'problem' if count == 1 else 'problems'}: this is not the checkpoint of {given}")
        return 1
    print(f"all bits of {elements:,} elements in {len(by_name)} tensors are those of {given}")
    return 0


def _planned(recipe: dict[str, Any]) -> tuple[list[Planned], torch.dtype]:
    """The plan and the dtype that a recipe means. Raises ``TypeError`` or ``ValueError`` for one that no run writes."""
    if recipe.keys() != RECIPE.keys():
        raise ValueError(f"expected {', '.join(RECIPE)}, got {', '.join(map(text.shown, recipe))}")
    for key, kind in RECIPE.items():
        if type(recipe[key]) is not kind:  # a bool is no int here
            raise TypeError(f"{key}: expected {kind.__name__}, got {text.shown(recipe[key])}")
    for key, known in (("preset", presets()), ("method", METHODS), ("dtype", _DTYPES)):
        if recipe[key] not in known:
            raise ValueError(f"{key}: expected one of {', '.join(known)}, got {text.shown(recipe[key])}")
    if recipe["layers"] < 1:
        raise ValueError(f"layers: expected an integer >= 1, got {recipe['layers']}")
    dtype = _DTYPES[recipe["dtype"]]
    model = build(preset(recipe["preset"]), recipe["layers"]).to(dtype)
    return plan_of(model, Scheme(recipe["method"], seed=recipe["seed"], std=recipe["std"])), dtype
