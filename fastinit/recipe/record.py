"""record: a framework's own initialisation, run once, as a recipe."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from fastinit.recipe.bind import Bound, Parameter, bind
from fastinit.recipe.hooks import recording
from fastinit.recipe.own import own_init
from fastinit.recipe.recipe import Recipe
from fastinit.recipe.tape import Tape

Rename = Callable[[str], str] | Mapping[str, str] | None


def record(model, init=None, *, rename=None, unwritten=(), device="meta"):
    tape = Tape(lambda tensor, leaf: None)
    with recording(tape):
        if isinstance(model, nn.Module):
            root, built = model, False
        else:
            with torch.device(device):
                root, built = model(), True
        ran = own_init(root, init, built)
    from fastinit.model.walk import parameters_of, tied
    parameters = [Parameter(f.names, f.parameter) for f in tied(parameters_of(root))]
    return bind(parameters, tape.storages), ran, root
