"""A recording changes nothing of what is recorded: not a weight, a buffer, a mark, or what its recipe was made from."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fastinit


class Model(nn.Module):
    """With memory that holds something, a tie, a buffer, and a view that is neither."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.arange(24.0).view(4, 6))
        self.b = nn.Parameter(torch.full((6,), 7.0))
        self.tied = self.w
        self.register_buffer("table", torch.full((3,), 5.0))
        self.first = self.w.detach()[0]

    def init_weights(self) -> None:
        with torch.no_grad():
            self.w.normal_()
            self.b.zero_()
            self.table.fill_(1.0)


def replaced(model: Model) -> None:
    model.b = nn.Parameter(torch.zeros(6))
    model.w.data = torch.ones(4, 6, device="cpu")
    model.table = torch.zeros(3)


WRITES: dict[str, Callable[[Any], object] | None] = {
    "its own": None,
    "numbers": lambda model: (model.w.data.fill_(2.0), model.b.data.copy_(torch.arange(6.0))),
    "computed": lambda model: (nn.init.orthogonal_(model.w), nn.init.zeros_(model.b)),
    "a view": lambda model: (nn.init.ones_(model.w), model.first.zero_(), nn.init.ones_(model.b)),
    "others in their place": replaced,
    "each of a list": lambda model: torch._foreach_zero_([model.w.data, model.b.data]),
}


def values(model: nn.Module) -> dict[str, Tensor]:
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in named}


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("name", WRITES)
def test_what_is_recorded_is_what_it_was(name: str, device: str) -> None:
    model = Model()
    before, held = values(model), dict(model.named_parameters(remove_duplicate=False))
    first, addresses = model.first, [parameter.data_ptr() for parameter in model.parameters()]
    recipe = fastinit.record(model, WRITES[name], device=device)
    assert len(recipe) == 2
    for parameter, tensor in values(model).items():
        assert torch.equal(tensor, before[parameter]), parameter
    assert dict(model.named_parameters(remove_duplicate=False)) == held
    assert [parameter.data_ptr() for parameter in model.parameters()] == addresses
    assert torch.equal(first, before["w"][0])


def test_a_memory_that_is_let_go_is_there_again() -> None:
    def init(model: Model) -> None:
        model.init_weights()
        model.table.untyped_storage().resize_(0)

    model = Model()
    before = values(model)
    fastinit.record(model, init)
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(model).items())


def test_also_after_an_error() -> None:
    def fails(model: Model) -> None:
        model.b.data.zero_()
        raise ZeroDivisionError

    model = Model()
    before = values(model)
    with pytest.raises(ZeroDivisionError):
        fastinit.record(model, fails)
    with pytest.raises(ValueError, match="did not write these 1"):
        fastinit.record(model, lambda made: made.b.data.zero_())
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(model).items())


def test_a_function_that_returns_a_model_that_was_there() -> None:
    model = Model()
    before = values(model)
    fastinit.record(lambda: model, lambda made: made.init_weights())
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(model).items())


def test_what_is_not_the_model_s_stays_written() -> None:
    """As a table that others find filled from then on."""
    table = torch.zeros(3)

    def build() -> nn.Module:
        table.fill_(2.0)
        return Model()

    fastinit.record(build)
    assert bool((table == 2).all())


def test_the_marks_of_what_is_initialised_are_not_set() -> None:
    """Else the model's own initialisation would write nothing afterwards, silently."""

    class Marking(Model):
        def init_weights(self) -> None:
            for module in self.modules():
                if not getattr(module, "_is_hf_initialized", False):
                    super().init_weights()
                module._is_hf_initialized = True

    model = Marking()
    fastinit.record(model)
    assert not hasattr(model, "_is_hf_initialized")
    assert not fastinit.record(model).diff(fastinit.record(Model()))
    model._is_hf_initialized = True
    with pytest.raises(ValueError, match="did not write these 2"):
        fastinit.record(model)
    assert model._is_hf_initialized


def test_a_recipe_is_not_changed_with_what_it_was_made_from() -> None:
    """A table of elsewhere, and the rows of the model that its initialisation left as they were."""
    table, model = torch.ones(6), Model()

    def init(made: Model) -> None:
        with torch.no_grad():
            made.b.copy_(table + 1)
            made.w[0].zero_()

    recipe = fastinit.record(model, init)
    kept = model.w.detach()[1:].clone()
    table.fill_(9.0)
    with torch.no_grad():
        model.w.fill_(9.0)
    for target in (Model(), model):
        fastinit.init_model_(target, recipe, seed=0)
        assert bool((target.b == 2).all())
        assert torch.equal(target.w.detach()[1:], kept)
        assert not target.w[0].any()


def test_parameters_without_a_shape_are_named() -> None:
    with pytest.raises(TypeError, match=r"model: expected parameters with a shape, got lazy ones.*: 0.weight, 0.bias$"):
        fastinit.record(nn.Sequential(nn.LazyLinear(4)))
