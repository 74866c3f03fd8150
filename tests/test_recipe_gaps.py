"""Nothing is left unwritten in silence: parts without laws, frozen memory, two names for one, keys of fastinit's own."""

import pytest
import torch
from torch import nn

import fastinit


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(4, 3))
        self.w3 = nn.Parameter(torch.empty(4, 3))


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w13 = nn.Parameter(torch.empty(8, 3))


def test_a_fused_parameter_wants_laws_of_all_its_parts():
    recipe = fastinit.record(Gate, kept=["w3"])
    with pytest.raises(ValueError, match="aliases: expected parts that follow laws, got w3, which is left as it is"):
        fastinit.init_model_(Fused(), recipe, aliases={"w13": ("w1", "w3")})


def test_frozen_memory_that_is_made_within_is_not_loaded():
    def frozen() -> nn.Module:
        module = nn.Linear(2, 2)
        module.table = nn.Parameter(torch.empty(8), requires_grad=False)
        return module

    with pytest.raises(ValueError, match=r"did not write these 1.*\n  table"):
        fastinit.build(frozen, seed=0)


def test_a_rename_gives_each_parameter_a_name_of_its_own():
    both = {"weight": "w", "bias": "w"}
    with pytest.raises(ValueError, match="rename: expected a name of its own for each parameter, got 'w' for two"):
        fastinit.record(lambda: nn.Linear(2, 2), rename=both)
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="rename: expected a name of its own"), fastinit.keyed(model, rename=both):
        model.reset_parameters()


def test_keys_of_their_own_are_not_recorded_as_kept():
    def build() -> nn.Module:
        module = nn.Linear(2, 2)
        fastinit.normal_(module.weight, key=fastinit.Key(1, 2))
        return module

    with pytest.raises(ValueError, match="keys of their own: weight"):
        fastinit.record(build, device="cpu")


def test_a_normal_around_a_tensor_is_made_where_the_tensor_is():
    def build() -> nn.Module:
        module = nn.Linear(2, 2)
        module.register_buffer("noise", torch.normal(torch.zeros(4), torch.ones(4)))
        return module

    assert fastinit.record(build).kinds() == {"law": 2}


def test_what_else_was_random_is_stored(tmp_path):
    def build() -> nn.Module:
        module = nn.Linear(2, 2)
        torch.randperm(4)
        return module

    recipe = fastinit.record(build)
    recipe.save(tmp_path / "laws.json")
    assert recipe.random
    assert fastinit.Recipe.load(tmp_path / "laws.json") == recipe
