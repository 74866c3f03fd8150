"""What the worlds of recipes have in common: the whole tensors of a sharded model, and its own initialisation as it runs."""

import torch
from rank_checks import SEED, assert_same
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

import fastinit

ENTRIES = ("initialize_weights", "init_states", "init_weights")


def full(model: nn.Module) -> dict[str, Tensor]:
    """The whole tensors of a model by name."""
    return {
        name: (parameter.full_tensor() if isinstance(parameter, DTensor) else parameter).detach()
        for name, parameter in model.named_parameters()
    }


def assert_model(name: str, model: nn.Module, expected: dict[str, Tensor]) -> None:
    found = full(model)
    assert found
    for parameter, tensor in found.items():
        assert_same(tensor, expected[parameter], name, parameter)


def live(model: nn.Module) -> nn.Module:
    """The model on the CPU, by its own initialisation; no generator moves, and what it does not write is NaN."""
    ties: dict[Tensor, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        ties.setdefault(parameter, []).append(name)
    model.to_empty(device="cpu")
    for first, *others in ties.values():  # which to_empty() keeps of DTensors alone
        for other in others:
            owner, _, leaf = other.rpartition(".")
            model.get_submodule(owner)._parameters[leaf] = model.get_parameter(first)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    state = torch.get_rng_state()
    with fastinit.keyed(model, seed=SEED):
        next(getattr(model, name) for name in ENTRIES if hasattr(model, name))()
    assert torch.equal(torch.get_rng_state(), state)
    return model
