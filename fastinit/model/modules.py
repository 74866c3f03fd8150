"""Questions to all modules of a model, of which there may be as many as parameters, in less time than torch's generators take."""

from collections.abc import Iterable
from typing import Any

from torch import nn


def every(model: nn.Module) -> list[nn.Module]:
    """A model and all modules in it, in any order; those in two places come twice."""
    found = [model]
    for module in found:  # which grows meanwhile
        if module._modules:
            found += [child for child in module._modules.values() if child is not None]
    return found


def having(modules: Iterable[Any], name: str) -> list[Any]:
    """The modules that may have an attribute. Most lack what is asked for, and would take long to say so."""
    own: dict[type, bool] = {}
    found = []
    for module in modules:
        kind = type(module)
        if kind not in own:
            own[kind] = _tells_only_its_own(kind, name)
        if not own[kind] or name in module.__dict__ or name in module._buffers:
            found.append(module)
    return found


def _tells_only_its_own(kind: type, name: str) -> bool:
    """Whether modules of the class have the attribute only where they were given it."""
    if not issubclass(kind, nn.Module) or kind.__getattr__ is not nn.Module.__getattr__:
        return False
    return not hasattr(kind, name)
