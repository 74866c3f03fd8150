"""A model by torchtitan's names, for ``fastinit plan --model planned_model:build``."""

from torch import nn


def build() -> nn.Module:
    """One linear layer of a block."""
    model = nn.Module()
    model.layers = nn.ModuleList([nn.Module()])
    model.layers[0].attention = nn.Module()
    model.layers[0].attention.wq = nn.Linear(8, 8, bias=False)
    return model
