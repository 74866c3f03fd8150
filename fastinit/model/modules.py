"""Questions to all modules of a model, of which there may be as many as parameters, in less time than torch's generators take."""

from collections.abc import Iterable
from typing import Any

from torch import nn


def every(model: nn.Module) -> list[nn.Module]:
    """A model and all modules in it, level by level; those in two places come twice."""
    found: list[nn.Module] = []
    level = [model]
    while level:
        found += level
        parents = [module._modules.values() for module in level if module._modules]
        level = [child for children in parents for child in children if child is not None]
    return found


def having(modules: Iterable[Any], name: str) -> list[Any]:
    """The modules that may have an attribute. Most lack what is asked for, and would take long to say so."""
    modules = list(modules)
    own = {kind for kind in set(map(type, modules)) if tells_only_its_own(kind, name)}
    return [
        module for module in modules if name in module.__dict__ or type(module) not in own or name in module._buffers
    ]


def tells_only_its_own(kind: type, name: str) -> bool:
    """Whether modules of the class have the attribute only where they were given it."""
    if not issubclass(kind, nn.Module) or kind.__getattr__ is not nn.Module.__getattr__:
        return False
    return not hasattr(kind, name)
