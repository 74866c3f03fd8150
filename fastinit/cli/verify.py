"""``python -m fastinit verify DIR``: is a checkpoint what its metadata says, bit for bit?"""

from argparse import Namespace
from math import prod
from pathlib import Path

from fastinit.cli import progress
from fastinit.checkpoint.contents import contents_of
from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.index import INDEX, read_index
from fastinit.checkpoint.proof import folder_problems
from fastinit.checkpoint.document import plan_of_recipe, recipe_text
from fastinit.model.shown import shown


def run(arguments: Namespace) -> int:
    """Regenerate each tensor in parts and compare; 1 when anything in the folder is not as it was written, else 0."""
    directory = Path(arguments.directory)
    index = read_index(directory / INDEX)
    try:
        plan, dtype = plan_of_recipe(index.recipe)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{shown(directory)}: expected the metadata of a preset: {error}") from None
    contents = contents_of(index, plan, dtype)
    elements = sum(map(prod, contents.shapes.values()))
    count = 0
    with progress.bar(elements, "verifying") as advance:
        for name, problem in folder_problems(directory, contents, advance):
            print(f"{shown(name)}: {problem}")
            count += 1
    given = recipe_text(index.recipe)
    if count:
        print(f"{count} {'problem' if count == 1 else 'problems'}: this is not the checkpoint of {given}")
        return 1
    print(f"all bits of {elements:,} elements in {len(plan)} tensors are those of {given}")
    return 0
