"""``python -m fastinit plan``: which rule each parameter would be filled by, without filling it."""

import importlib
from argparse import Namespace

import torch
from torch import nn

from fastinit.cli.errors import UsageError
from fastinit.cli.init import asked_plan
from fastinit.cli.text import table
from fastinit.law.transformed import Law
from fastinit.model.plan import Scheme, plan_of
from fastinit.model.presets import preset
from fastinit.model.report import law_text, shape_text

_HEADER = ("parameter", "role", "law", "shape")


def run(arguments: Namespace) -> int:
    """Print a row a parameter of a preset, or of a model that a function builds on the meta device."""
    if (arguments.preset is None) == (arguments.model is None):
        raise UsageError("expected a PRESET or --model, and not both")
    rows = _of_preset(arguments) if arguments.model is None else _of_model(arguments)
    print(table(_HEADER, [(name, role, law_text(law), shape_text(shape)) for name, role, law, shape in rows], ()))
    return 0


def _of_preset(arguments: Namespace) -> list[tuple[str, str, Law | None, tuple[int, ...]]]:
    model = preset(arguments.preset)
    plan = asked_plan(model, model.num_layers, arguments)
    return [(planned.spec.name, planned.spec.kind.value, planned.law, tuple(planned.spec.shape)) for planned in plan]


def _of_model(arguments: Namespace) -> list[tuple[str, str, Law | None, tuple[int, ...]]]:
    module, _, function = arguments.model.partition(":")
    try:
        build = getattr(importlib.import_module(module), function)
        with torch.device("meta"):
            model = build()
    except Exception as error:  # whatever a user's module and function raise
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UsageError(f"--model: expected package.module:function, got {arguments.model!r}: {said}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"--model: expected a function that returns a torch.nn.Module, got {type(model).__name__}")
    scheme = Scheme(arguments.method, arguments.seed, arguments.std, (), None, None, None, None, {})
    try:
        return [(p.name, p.role.value, p.law, p.global_shape) for p in plan_of(model, scheme)]
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None
