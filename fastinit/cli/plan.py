"""``python -m fastinit plan``: which law each parameter would be filled by, without filling it."""

from argparse import Namespace

from fastinit.checkpoint.errors import UsageError
from fastinit.cli.source import asked, loaded
from fastinit.model.report import law_text, shape_text, table
from fastinit.model.shown import shown
from fastinit.recipe.recipe import Recipe

_HEADER = ("parameter", "role", "law", "shape")


def run(arguments: Namespace) -> int:
    """Print a row a parameter; 1 when a recipe is not the one of ``--diff``, else 0."""
    wanted = asked(arguments)
    plan = wanted.plan()
    if wanted.laws is not None:
        return _laws(wanted.laws, arguments)
    for name in ("save", "diff"):
        if getattr(arguments, name) is not None:
            raise UsageError(f"--{name}: expected the laws of a recipe, --rules own, got {arguments.rules}")
    print(table(_HEADER, [(shown(p.name), p.role, law_text(p.law), shape_text(p.global_shape)) for p in plan]))
    return 0


def _laws(recipe: Recipe, arguments: Namespace) -> int:
    """The recipe: printed, or compared, and stored."""
    if arguments.save is not None:
        try:
            recipe.save(arguments.save)
        except ValueError as error:
            raise UsageError(f"--save: {error}") from None
    if arguments.diff is None:
        print(recipe)
        return 0
    difference = recipe.diff(loaded(arguments.diff))
    print(difference)
    return 1 if difference else 0
