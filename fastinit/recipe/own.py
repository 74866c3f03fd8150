"""Which of a model's methods is its own initialisation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

ENTRIES = ("initialize_weights", "init_states", "init_weights")  # transformers; torchtitan; OLMo-core and others
_IN_CONSTRUCTOR = {"init_weights"}  # which many a constructor calls by itself, with arguments of its own


def own_init(model: Any, init: Callable[[nn.Module], Any] | None, built: bool) -> str:
    """Run ``init`` on the model, or its own; the name of what ran."""
    if init is not None:
        init(model)
        return getattr(init, "__qualname__", type(init).__name__)
    for name in ENTRIES:
        method = getattr(model, name, None) if _has(model, name) else None
        if callable(method) and not (built and name in _IN_CONSTRUCTOR):
            if not built:
                _forget_loaded(model)
            method()
            if not built:
                _forget_loaded(model)  # what was recorded was not done
            return name
    if built:
        return "the constructor"
    with torch.no_grad():
        modules: list[Any] = list(model.modules())
        for module in reversed(modules):
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):  # torch's own attention and nn.Transformer have the private one
                reset()
        if _has(model, "_init_weights") and callable(model._init_weights):
            model.apply(model._init_weights)
            return "reset_parameters and _init_weights"
    return "reset_parameters"


def _has(model: nn.Module, name: str) -> bool:
    """Whether the name is the model's own. What peft's models have not they take from the one inside, of which they are more."""
    return hasattr(type(model), name) or name in vars(model)


def _forget_loaded(model: nn.Module) -> None:
    """On the meta device nothing is loaded, though transformers marks a model so that was built there."""
    for module in model.modules():
        held: list[Any] = [module, *module.parameters(recurse=False)]
        if all(parameter.is_meta for parameter in held[1:]):
            for marked in held:
                vars(marked).pop("_is_hf_initialized", None)
