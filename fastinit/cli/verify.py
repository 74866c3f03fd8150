"""``python -m fastinit verify DIR``: is a checkpoint what its metadata says, bit for bit?"""

from argparse import Namespace
from pathlib import Path

import torch

from fastinit.cli import checkpoint, text
from fastinit.cli.errors import UsageError
from fastinit.cli.init import fill_planned, planned_parameters
from fastinit.presets import preset


def run(arguments: Namespace) -> int:
    """Regenerate each tensor in parts and compare; 1 when one differs, is missing or was not asked for, else 0."""
    directory = Path(arguments.directory)
    recipe, files = checkpoint.recipe_of(directory)
    try:
        model, dtype = preset(recipe["preset"]), getattr(torch, recipe["dtype"])
        plan = planned_parameters(model, recipe["layers"], recipe["method"], recipe["std"], recipe["seed"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{directory}: expected the metadata of a preset, got {error}") from None
    by_name = {planned.spec.name: planned for planned in plan}
    problems = dict.fromkeys(sorted(files.keys() - by_name.keys()), "is not a tensor of the model")
    elements = sum(planned.spec.numel for planned in plan)
    with text.bar(elements, "verifying") as advance:
        for name, planned in by_name.items():
            if name not in files:
                problems[name] = "is missing"
                continue
            shape = tuple(planned.spec.shape)
            found = checkpoint.differing(
                directory / files[name], name, shape, dtype,
                lambda name, part, shard: fill_planned(part, by_name[name], shard),
            )  # fmt: skip
            if found:
                problems[name] = found
            advance(planned.spec.numel)
    for name, problem in problems.items():
        print(f"{name}: {problem}")
    given = f"{model.name}, {recipe['layers']} layers, method {recipe['method']}, seed {recipe['seed']}"
    if problems:
        print(f"{len(problems)} of {len(by_name)} tensors are not those of {given}")
        return 1
    print(f"all bits of {elements:,} elements in {len(by_name)} tensors are those of {given}")
    return 0
