"""What a command fills: a preset, or what a function builds, as a model on the meta device, and its plan."""

import importlib
from argparse import Namespace
from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import nn

from fastinit.backends import backend_for
from fastinit.cli.errors import UsageError
from fastinit.cli.memory import size_text
from fastinit.model.plan import Planned, Scheme, plan_of
from fastinit.model.presets import Preset
from fastinit.model.roles import Role
from fastinit.model.skeleton import build, numel


def of_preset(preset: Preset, layers: int, dtype: torch.dtype) -> nn.Module:
    """The first layers of a preset. Raises ``UsageError`` when it has not so many."""
    if layers > preset.num_layers:
        raise UsageError(f"--layers: expected at most the {preset.num_layers} of {preset.name}, got {layers}")
    return build(preset, layers).to(dtype)


def of_function(name: str) -> nn.Module:
    """What ``package.module:function`` returns. Raises ``UsageError`` for what is no such function, or returns no model."""
    module, _, function = name.partition(":")
    try:
        call = getattr(importlib.import_module(module), function)
        with torch.device("meta"):
            model = call()
    except Exception as error:  # whatever a user's module and function raise
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UsageError(f"--model: expected package.module:function, got {name!r}: {said}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"--model: expected a function that returns a torch.nn.Module, got {type(model).__name__}")
    return model


def heading(known: Preset, layers: int, reason: str, dtype: torch.dtype) -> str:
    """Two lines: the preset, and how much of it is filled."""
    elements = numel(known, layers)
    return (
        f"{known.name}: {known.model}, {known.parameters:,} parameters ({known.sources[0]})\n"
        f"{layers} of {known.num_layers} layers ({reason}): {elements:,} elements, {size_text(elements * dtype.itemsize)}"
    )


def backend_name(device: torch.device) -> str:
    """The backend that fills tensors on the device."""
    return backend_for(device.type).__name__.rpartition(".")[2]


def asked_plan(model: nn.Module, arguments: Namespace) -> list[Planned]:
    """The plan that the options of a command ask for."""
    try:
        return plan_of(model, Scheme(arguments.method, seed=arguments.seed, std=arguments.std))
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None


def by_role(plan: Sequence[Planned]) -> Iterator[tuple[Role, list[Planned]]]:
    """The plan's parameters by what they are for, in the order in which roles.py lists that."""
    order = list(Role)
    ordered = sorted(plan, key=lambda planned: order.index(planned.role))
    return ((role, list(members)) for role, members in groupby(ordered, key=lambda planned: planned.role))
