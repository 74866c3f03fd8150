"""A rename maps a model's names to those of a recipe: law, bits and the report's key are the renamed parameter's."""

import pytest
import torch
from torch import nn

import fastinit
from fastinit import Key


def experts(count: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(4, 3) for _ in range(count))


def second_half(name: str) -> str:
    """The experts of the second of two ranks, which counts its own from 0."""
    number, _, rest = name.partition(".")
    return f"{int(number) + 2}.{rest}"


def by_recipe(model: nn.Module):
    return fastinit.init_model_(model, fastinit.record(lambda: experts(4)), seed=1, rename=second_half)


def live(model: nn.Module):
    with fastinit.keyed(model, seed=1, rename=second_half) as report:
        for module in model:
            module.reset_parameters()
    return report


@pytest.mark.parametrize("fill", [by_recipe, live])
def test_a_rank_has_the_experts_that_the_renamed_parameters_are(fill):
    whole, part = experts(4), experts(2)
    fastinit.init_model_(whole, fastinit.record(lambda: experts(4)), seed=1)
    report = fill(part)
    for name, parameter in part.named_parameters():
        assert torch.equal(parameter, whole.get_parameter(second_half(name)))
        assert report[name].key == Key.of(second_half(name), seed=1)
        assert report[name].law == fastinit.record(lambda: experts(1))[f"0.{name[2:]}"].tiles[0].law
