"""What a command is about: a model of a preset, a config, a function or a recipe, on the meta device, and the laws asked for."""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.live import Format, Live, of_recipe
from fastinit.checkpoint.preset import of_preset
from fastinit.cli.framework import live_of
from fastinit.model.materialise import materialise
from fastinit.model.plan import plan_of
from fastinit.model.planned import Planned, Rules
from fastinit.model.presets import Preset, preset, presets
from fastinit.model.roles import Named, Role, named_by
from fastinit.model.scheme import Scheme
from fastinit.model.shown import shown, size_text
from fastinit.recipe.recipe import Recipe

_OWN = "own"
_STD = 0.02


class Asked(NamedTuple):
    """A model with its own laws, and the rules that it is to be filled by: a recipe's, which are its ``laws``, or a method's.

    ``said`` is how the rules are called, ``named`` the patterns that the parameters' names match.
    """

    source: str
    live: Live
    rules: Rules
    laws: Recipe | None
    said: str
    named: Mapping[str, Named | None]
    preset: Preset | None

    @property
    def model(self) -> nn.Module:
        """The model, on the meta device until it is materialised."""
        return self.live.model

    def plan(self) -> list[Planned]:
        """What each parameter gets, with what its name says that it is for."""
        try:
            plan = plan_of(self.model, self.rules)
        except (TypeError, ValueError) as error:
            raise UsageError(str(error)) from None
        named = {name: match.role.value for name, match in self.named.items() if match is not None}
        return [planned._replace(role=named.get(planned.name, planned.role)) for planned in plan]


def asked(arguments: Namespace, layers: int | None = None) -> Asked:
    """What the options of a command ask for; of a preset, so many layers, or else those that are asked for, or all.

    Raises ``UsageError``, in a line, for what there is not, and for options that say nothing beside others.
    """
    option: Any = vars(arguments).get
    source, recipe, method, std = option("source"), option("recipe"), option("rules") or _OWN, option("std")
    if source is None and recipe is None:
        raise UsageError("SOURCE: expected a model, or --recipe for the parameters of a stored recipe")
    if recipe is not None and option("rules") is not None:
        raise UsageError("--rules: expected none with --recipe, which has laws of its own")
    if method == _OWN and std is not None:
        raise UsageError("--std: expected none but with a method, as these laws have their own")
    known = presets().get(source)
    if known is None and option("layers") is not None:
        raise UsageError("--layers: expected none but for a preset: the laws of others may depend on their number")
    stored = None if recipe is None else loaded(recipe)
    dtype = getattr(torch, option("dtype")) if option("dtype") else None
    layers = option("layers") if layers is None else layers
    live = _live(source, known, stored, layers, dtype, own=stored is None and method == _OWN)
    name = source or recipe if layers is None or known is None else _name(known, layers)
    seed, patterns = option("seed") or 0, () if known is None else known.patterns
    named = named_by((parameter.name for parameter in live.recipe), set(), patterns)
    if method == _OWN:
        laws = stored or live.recipe
        said = _OWN if recipe is None else f"those of {recipe}"
        return Asked(name, live, laws.rules(seed), laws, said, named, known)
    std = _STD if std is None else std
    try:
        rules = Scheme(method, seed, std, roles=patterns)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--{error}") from None
    return Asked(name, live, rules, None, f"{method}, std {std:g}", named, known)


def contents_for(arguments: Namespace) -> Contents:
    """The checkpoint that is asked for: ``--format hf`` has the names and layout of published files, others those of the model."""
    wanted = asked(arguments)
    try:
        form: Format = vars(arguments).get("format") or "hf"
        return wanted.live.contents(form, wanted.source, wanted.rules, wanted.said, wanted.laws)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None


def loaded(path: str) -> Recipe:
    """A recipe that ``plan --save`` has stored. Raises ``UsageError`` for a file that holds something else."""
    try:
        return Recipe.load(Path(path))
    except ValueError as error:
        raise UsageError(str(error).removeprefix("path: ")) from None


def _live(
    source: str | None,
    known: Preset | None,
    stored: Recipe | None,
    layers: int | None,
    dtype: torch.dtype | None,
    own: bool,
) -> Live:
    if source is None:
        assert stored is not None
        return of_recipe(stored, dtype or torch.get_default_dtype())
    if known is None:
        return live_of(source, dtype, own)
    check_layers(known, layers)
    return of_preset(known, layers, dtype)


def check_layers(known: Preset, layers: int | None) -> None:
    """Raise ``UsageError`` for more layers than there are."""
    if (layers or 0) > known.num_layers:
        raise UsageError(f"--layers: expected at most the {known.num_layers} of {known.name}, got {layers}")


def _name(known: Preset, layers: int) -> str:
    return known.name if layers == known.num_layers else f"{known.name}, {layers} layers"


def asked_preset(arguments: Namespace) -> tuple[Preset, torch.dtype] | None:
    """The preset, and the dtype, of a command that is about one."""
    if arguments.source not in presets():
        return None
    known = preset(arguments.source)
    check_layers(known, arguments.layers)
    return known, getattr(torch, arguments.dtype or known.dtype)


def size_of(plan: Sequence[Planned]) -> int:
    """Bytes of all parameters."""
    return sum(planned.parameter.numel() * planned.parameter.dtype.itemsize for planned in plan)


def heading(wanted: Asked, plan: Sequence[Planned], layers: int | None, reason: str) -> str:
    """Two lines: the model, and how much of it is filled."""
    elements = f"{sum(planned.parameter.numel() for planned in plan):,} elements, {size_text(size_of(plan))}"
    known = wanted.preset
    if known is None:
        recipe = wanted.live.recipe
        return f"{shown(wanted.source)}: {shown(recipe.root)} by {shown(recipe.init)}\nall of it: {elements}"
    return (
        f"{known.name}: {known.model}, {known.parameters:,} parameters ({known.sources[0]})\n"
        f"{layers} of {known.num_layers} layers ({reason}): {elements}"
    )


def materialised(wanted: Asked, device: torch.device) -> list[Planned]:
    """Memory for the model, all NaN, and its plan: the first touch can cost the operating system more than the fill."""
    materialise(wanted.model, wanted.plan(), device)
    with torch.no_grad():
        for parameter in wanted.model.parameters():
            parameter.fill_(float("nan"))
    return wanted.plan()


def by_role(plan: Sequence[Planned]) -> Iterator[tuple[str, list[Planned]]]:
    """The plan's parameters by what they are for, in the order in which roles.py lists that; those that it does not list last."""
    order = {role.value: k for k, role in enumerate(Role)}
    ordered = sorted(plan, key=lambda planned: (order.get(planned.role, len(order)), planned.role))
    return ((role, list(members)) for role, members in groupby(ordered, key=lambda planned: planned.role))
