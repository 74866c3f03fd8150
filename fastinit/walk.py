"""What a model says of itself: its parameters and their names, its sizes, and where its plain shards lie."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fastinit import dtensor
from fastinit.geometry import LocalShard
from fastinit.stream import canonical_name


@dataclass(frozen=True, slots=True)
class Found:
    """A parameter of a model: the module that owns it, and its names there. More than one: it is tied."""

    parameter: Tensor
    owner: nn.Module
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name that its key comes from: the first in the order of the model's modules."""
        return self.names[0]

    def sibling(self, path: str) -> str:
        """The name of another parameter, from the module that owns this one."""
        return ".".join([*self.name.split(".")[:-1], path])


def parameters_of(model: nn.Module) -> list[Found]:
    """The parameters of a model, each once, by canonical name."""
    names: dict[int, list[str]] = {}
    owners: dict[int, tuple[Tensor, nn.Module]] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, parameter in module.named_parameters(prefix=prefix, recurse=False):
            owners.setdefault(id(parameter), (parameter, module))
            names.setdefault(id(parameter), []).append(canonical_name(name))
    return [Found(*owners[key], tuple(dict.fromkeys(names[key]))) for key in owners]


def experts_shard(module: Any, weight: Tensor) -> LocalShard | None:
    """Where the experts of this rank lie in the bank, when a module holds them as a plain tensor of their own.

    >>> experts_shard(experts, experts.w_down)  # 16 experts, of which this is rank 1 of 4
    LocalShard(global_shape=(16, 512, 256), global_offset=(4, 0, 0))

    The module says so by ``num_experts``, ``num_local_experts`` and ``ep_rank``; None where nothing is sharded, and for
    a ``DTensor``, which knows its place.
    """
    local = getattr(module, "num_local_experts", None)
    if local is None:  # most modules, of which there may be thousands: a module takes long to say that it lacks a name
        return None
    whole, rank = getattr(module, "num_experts", None), getattr(module, "ep_rank", None)
    if whole is None or rank is None or local == whole or dtensor.is_dtensor(weight):
        return None
    return LocalShard((whole, *weight.shape[1:]), (rank * local, *[0] * (weight.ndim - 1)))


def d_model_of(model: nn.Module) -> int | None:
    """The width of a model, as its attributes or its config tell it; None when they do not."""
    return _attribute(model, ("d_model", "hidden_size", "dim"))


def num_blocks_of(model: nn.Module) -> int | None:
    """The number of blocks of a whole model, told likewise, by a pipeline stage too."""
    return _attribute(model, ("n_layers", "num_hidden_layers", "num_layers"))


def model_types_of(model: nn.Module) -> set[str]:
    """What a model of transformers, or one that is a part of the model, calls itself in its config."""
    types = (getattr(getattr(module, "config", None), "model_type", None) for module in model.modules())
    return {name for name in types if isinstance(name, str)}


def _attribute(model: nn.Module, names: tuple[str, ...]) -> int | None:
    for holder in _holders(model):
        for name in names:
            if isinstance(size := getattr(holder, name, None), int):
                return size
    return None


def _holders(model: nn.Module) -> Iterator[Any]:
    """The objects that may tell a size: a model, its configs, and the model that it wraps."""
    wrapped: Any = model
    while isinstance(wrapped, nn.Module):
        yield wrapped
        yield from (getattr(wrapped, name, None) for name in ("config", "model_args", "args"))
        wrapped = getattr(wrapped, "module", None)
