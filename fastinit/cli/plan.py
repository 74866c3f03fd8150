"""``python -m fastinit plan``: which rule each parameter would be filled by, without filling it."""

import importlib
from argparse import Namespace

import torch

from fastinit.cli.errors import UsageError
from fastinit.cli.init import planned_parameters
from fastinit.cli.text import table
from fastinit.laws import Law
from fastinit.plan import Scheme, plan_of
from fastinit.presets import preset
from fastinit.report import law_text, shape_text

_HEADER = ("parameter", "role", "law", "shape")


def run(arguments: Namespace) -> int:
    """Print a row a parameter of a preset, or of a model that a function builds on the meta device."""
    rows = _of_model(arguments) if arguments.model else _of_preset(arguments)
    print(table(_HEADER, [(name, role, law_text(law), shape_text(shape)) for name, role, law, shape in rows], ()))
    return 0


def _of_preset(arguments: Namespace) -> list[tuple[str, str, Law | None, tuple[int, ...]]]:
    if arguments.preset is None:
        raise UsageError("expected a PRESET or --model")
    model = preset(arguments.preset)
    plan = planned_parameters(model, model.num_layers, arguments.method, arguments.std, arguments.seed)
    return [(planned.spec.name, planned.spec.kind.value, planned.law, tuple(planned.spec.shape)) for planned in plan]


def _of_model(arguments: Namespace) -> list[tuple[str, str, Law | None, tuple[int, ...]]]:
    module, _, function = arguments.model.partition(":")
    try:
        build = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"--model: expected package.module:function, got {arguments.model!r}: {error}") from None
    with torch.device("meta"):
        model = build()
    scheme = Scheme(arguments.method, arguments.seed, arguments.std, (), None, None, None, None, {})
    try:
        return [(p.name, p.role.value, p.law, p.global_shape) for p in plan_of(model, scheme)]
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None
