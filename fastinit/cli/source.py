"""What a command fills: a preset, or what somebody builds, as a model on the meta device, and its plan."""

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import torch
from torch import nn

from fastinit.checkpoint.errors import UsageError
from fastinit.cli.framework import no_model
from fastinit.model.materialise import materialise
from fastinit.model.plan import plan_of
from fastinit.model.planned import Planned
from fastinit.model.presets import Preset, preset
from fastinit.model.roles import Role
from fastinit.model.scheme import Scheme
from fastinit.model.shown import size_text
from fastinit.model.skeleton import build, numel


def asked_preset(arguments: Namespace) -> tuple[Preset, torch.dtype]:
    """The preset and the dtype that are asked for. Raises ``UsageError`` for more layers than it has."""
    known = preset(arguments.preset)
    if (arguments.layers or 0) > known.num_layers:
        raise UsageError(f"--layers: expected at most the {known.num_layers} of {known.name}, got {arguments.layers}")
    return known, getattr(torch, arguments.dtype or known.dtype)


def of_preset(known: Preset, layers: int, dtype: torch.dtype) -> nn.Module:
    """The first layers of a preset, on the meta device."""
    return build(known, layers).to(dtype)


def on_meta(source: str, build_model: Callable[[], object]) -> nn.Module:
    """What a function builds, on the meta device. Raises ``UsageError`` where it raises, or returns no model."""
    try:
        with torch.device("meta"):
            model = build_model()
    except (Exception, SystemExit) as error:  # whatever a user's function raises
        raise no_model(source, error) from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"SOURCE: expected a function that returns a torch.nn.Module, got {type(model).__name__}")
    return model


def heading(known: Preset, layers: int, reason: str, dtype: torch.dtype) -> str:
    """Two lines: the preset, and how much of it is filled."""
    elements = numel(known, layers)
    return (
        f"{known.name}: {known.model}, {known.parameters:,} parameters ({known.sources[0]})\n"
        f"{layers} of {known.num_layers} layers ({reason}): {elements:,} elements, {size_text(elements * dtype.itemsize)}"
    )


def asked_plan(model: nn.Module, arguments: Namespace) -> list[Planned]:
    """The plan that the options of a command ask for; ``plan`` itself has no seed, on which no law depends."""
    try:
        return plan_of(model, Scheme(arguments.method, seed=getattr(arguments, "seed", 0), std=arguments.std))
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None


def materialised(model: nn.Module, arguments: Namespace, device: torch.device) -> list[Planned]:
    """Memory for the model, all NaN, and its plan: the first touch can cost the operating system more than the fill."""
    materialise(model, asked_plan(model, arguments), device)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    return asked_plan(model, arguments)


def by_role(plan: Sequence[Planned]) -> Iterator[tuple[str, list[Planned]]]:
    """The plan's parameters by what they are for, in the order in which roles.py lists that."""
    order = [role.value for role in Role]
    ordered = sorted(plan, key=lambda planned: order.index(planned.role))
    return ((role, list(members)) for role, members in groupby(ordered, key=lambda planned: planned.role))
