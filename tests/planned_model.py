"""A model by torchtitan's names, for ``fastinit plan planned_model:build``."""

import torch
from torch import nn


def build() -> nn.Module:
    """One linear layer of a block."""
    model = nn.Module()
    model.layers = nn.ModuleList([nn.Module()])
    model.layers[0].attention = nn.Module()
    model.layers[0].attention.wq = nn.Linear(8, 8, bias=False)
    return model


HOSTILE = "\x1b[2J\nall is well"


def dressed():
    model = build()
    model.layers.add_module(HOSTILE, model.layers[0])
    del model.layers._modules["0"]
    return model


def unknown():
    model = nn.Module()
    model.register_parameter(HOSTILE, nn.Parameter(torch.empty(2, 2)))
    return model


def orthogonal():
    model = build()
    nn.init.orthogonal_(model.layers[0].attention.wq.weight)
    return model
