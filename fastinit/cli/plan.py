"""``python -m fastinit plan``: which rule each parameter would be filled by, without filling it."""

from argparse import Namespace

import torch

from fastinit.cli.errors import UsageError
from fastinit.cli.source import asked_plan, of_function, of_preset
from fastinit.model.presets import preset
from fastinit.model.report import law_text, shape_text, table
from fastinit.model.shown import shown

_HEADER = ("parameter", "role", "law", "shape")


def run(arguments: Namespace) -> int:
    """Print a row a parameter of a preset, or of a model that a function builds on the meta device."""
    if (arguments.preset is None) == (arguments.model is None):
        raise UsageError("expected a PRESET or --model, and not both")
    if arguments.model is None:
        known = preset(arguments.preset)
        model = of_preset(known, known.num_layers, getattr(torch, known.dtype))
    else:
        model = of_function(arguments.model)
    plan = asked_plan(model, arguments)
    print(table(_HEADER, [(shown(p.name), p.role, law_text(p.law), shape_text(p.global_shape)) for p in plan]))
    return 0
