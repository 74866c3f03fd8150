"""Two names of one parameter, in the model or in the recipe alone: never is a law dropped in silence."""

import pytest
import torch
from torch import nn

import fastinit
from fastinit import Key


class Model(nn.Module):
    """An embedding and a head, of one matrix or of two; where the names are one the head comes last."""

    def __init__(self, tied: bool, embed: float | None = 0.02, head: float | None = 0.5) -> None:
        super().__init__()
        self.embed, self.head = (nn.ParameterList([torch.full((6, 4), 7.0)]) for _ in range(2))
        if tied:
            self.head[0] = self.embed[0]
        self.stds = embed, head

    def init_weights(self) -> None:
        for weight, std in zip((self.embed[0], self.head[0]), self.stds, strict=True):
            if std is None:
                nn.init.zeros_(weight)
            else:
                nn.init.normal_(weight, std=std)


APART = fastinit.record(Model(tied=False))
TIED = fastinit.record(Model(tied=True))


@pytest.mark.parametrize("stds", [(0.02, 0.5), (0.02, 0.02), (0.02, None), (None, 0.02)])
def test_a_tie_that_the_recipe_has_apart(stds: tuple[float | None, float | None]) -> None:
    """Also of one law: the two have numbers of their own."""
    recipe = fastinit.record(Model(False, *stds))
    model = Model(tied=True)
    message = (
        "recipe: expected one entry for a parameter whatever its name, got two that differ for embed.0 and head.0, which the "
        "model ties and the recipe does not"
    )
    for function in (fastinit.init_model_, fastinit.verify_model_):
        with pytest.raises(ValueError, match=f"^{message}"):
            function(model, recipe)
    assert bool((model.embed[0] == 7).all())


def test_a_tie_of_two_that_have_the_same_values() -> None:
    model = Model(tied=True)
    fastinit.init_model_(model, fastinit.record(Model(False, None, None)))
    assert not model.embed[0].any()


def test_a_rename_makes_one_name_of_a_tie() -> None:
    """Which says whose numbers it has."""
    model = Model(tied=True)
    report = fastinit.init_model_(model, APART, seed=1, rename={"embed.0": "head.0"})
    assert report["embed.0"].law.std == 0.5
    assert torch.equal(model.embed[0], fastinit.normal_(torch.empty(6, 4), std=0.5, key=Key.of("head.0", 1)))


def test_two_that_the_recipe_has_tied_share_their_values() -> None:
    """As an untied copy, or a pipeline stage that has the head alone; the report says so."""
    model, stage = Model(tied=False), nn.Module()
    stage.head = nn.ParameterList([torch.empty(6, 4)])
    expected = fastinit.normal_(torch.empty(6, 4), std=0.5, key=Key.of("embed.0", 1))
    for filled in (model, stage):
        report = fastinit.init_model_(filled, TIED, seed=1)
        assert fastinit.verify_model_(filled, TIED, seed=1)
        assert (report["head.0"].role, report["head.0"].note) == ("shared", "shares embed.0's values")
        assert report["head.0"].key == Key.of("embed.0", 1)
        assert all(torch.equal(parameter, expected) for parameter in filled.parameters())
    with pytest.raises(
        ValueError, match=r"recipe: expected an entry for each parameter, got embed.0 for embed.0 and head.0"
    ):
        fastinit.init_model_(model, TIED, rename=lambda name: "embed.0")


class Block(nn.Module):
    """Two names of one parameter within one module, or of two parameters."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((6, 4), 7.0))
        self.other = self.weight if tied else nn.Parameter(torch.full((6, 4), 7.0))

    def init_weights(self) -> None:
        nn.init.normal_(self.weight)
        nn.init.normal_(self.other, std=0.5)


def test_two_names_within_one_module() -> None:
    model, apart = Block(tied=True), fastinit.record(Block(tied=False))
    with pytest.raises(ValueError, match="two that differ for weight and other, which the model ties"):
        fastinit.init_model_(model, apart)
    assert torch.all(model.weight == 7.0)
    tied = fastinit.record(model)
    assert tied.entries[0].tied == ("other",)
    fastinit.init_model_(split := Block(tied=False), tied)
    assert torch.equal(split.weight, split.other)
    assert fastinit.verify_model_(split, tied)
