"""A rename maps a model's names to those of a recipe: law, bits and the report's key are the renamed parameter's."""

from functools import partial

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


def built(model: nn.Module):
    made, report = fastinit.build(experts, 2, seed=1, rename=second_half)
    model.load_state_dict(made.state_dict())
    return report


@pytest.mark.parametrize("fill", [by_recipe, live, built])
def test_a_rank_has_the_experts_that_the_renamed_parameters_are(fill):
    whole, part = experts(4), experts(2)
    fastinit.init_model_(whole, fastinit.record(lambda: experts(4)), seed=1)
    report = fill(part)
    for name, parameter in part.named_parameters():
        assert torch.equal(parameter, whole.get_parameter(second_half(name)))
        assert report[name].key == Key.of(second_half(name), seed=1)
        assert report[name].law == fastinit.record(lambda: experts(1))[f"0.{name[2:]}"].tiles[0].law


class Partly(nn.Linear):
    """With a parameter that nothing writes, and one from elsewhere."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__(2, 2)
        self.left = nn.Parameter(torch.empty(3))
        self.copied = nn.Parameter(table + 1)


def test_what_is_built_has_the_arguments_of_what_is_live():
    table = torch.ones(3)
    with pytest.raises(ValueError, match=r"did not write these 1; kept= names those that stay as they are:\n  left$"):
        fastinit.build(Partly, table)
    _, report = fastinit.build(Partly, table, kept=["left"])
    assert (report["left"].role, report["copied"].role) == ("kept", "foreign")
    with pytest.raises(ValueError, match=r"strict: .* in copied$"):
        fastinit.build(Partly, table, kept=["left"], strict=True)
    _, report = fastinit.build(partial(nn.Linear, 2, 2), rename={"weight": "w"}, seed=1)
    assert report["weight"].key == Key.of("w", seed=1)
