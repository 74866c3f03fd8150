"""The parameters of a model: their names, which of them are one, and where its plain shards lie."""

import sys
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fastinit.shard import dtensor
from fastinit.shard.geometry import LocalShard
from fastinit.shard.storage import Memory, kind_of, memory_of
from fastinit.stream import canonical_name


@dataclass(frozen=True, slots=True)
class Found:
    """A parameter of a model: the module that owns it, and its names there. More than one: it is tied.

    ``paths`` are the names as the modules have them, with the parts that wrappers add; ``place`` is where its elements lie.
    """

    parameter: Tensor
    owner: nn.Module
    names: tuple[str, ...]
    paths: tuple[str, ...]
    memory: Memory | None

    @property
    def name(self) -> str:
        """The name that its key comes from: the first in the order of the model's modules."""
        return self.names[0]

    def sibling(self, path: str) -> str:
        """The name of another parameter, from the module that owns this one."""
        return ".".join([*self.name.split(".")[:-1], path])


def parameters_of(model: nn.Module) -> list[Found]:
    """The parameters of a model, each once, by canonical name."""
    paths: dict[int, list[str]] = {}
    owners: dict[int, tuple[Tensor, nn.Module]] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, parameter in module.named_parameters(prefix=prefix, recurse=False):
            owners.setdefault(id(parameter), (parameter, module))
            paths.setdefault(id(parameter), []).append(name)
    return [
        Found(parameter, owner, _canonical(paths[key]), tuple(paths[key]), memory_of(parameter))
        for key, (parameter, owner) in owners.items()
    ]


def _canonical(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(canonical_name, paths)))


def tied(found: Iterable[Found]) -> list[Found]:
    """The same with each memory once: parameters that are the same elements of one storage are one, tied.

    It is the first of them; the others' names follow.
    """
    by_memory: dict[Hashable, Found] = {}
    for parameter in found:
        memory: Hashable = id(parameter.parameter)
        if parameter.memory is not None:
            memory = parameter.memory, kind_of(parameter.parameter)
        first = by_memory.get(memory)
        if first is not None:
            paths = (*first.paths, *parameter.paths)
            parameter = replace(first, names=_canonical(paths), paths=paths)
        by_memory[memory] = parameter
    return list(by_memory.values())


def flat_shards(model: nn.Module) -> list[str]:
    """The parameters that FullyShardedDataParallel has cut: views of this rank's part of a flat parameter, without shape.

    With ``use_orig_params`` they pass for parameters, though neither their shape nor their first element is told by
    them. ``_handle`` and what it holds are private; the flat parameter lists its own as they were.
    """
    names: list[str] = []
    if "torch.distributed.fsdp" not in sys.modules:
        return names
    for prefix, module in model.named_modules():
        flat = getattr(vars(module).get("_handle"), "flat_param", None)
        whole = zip(
            getattr(flat, "_fqns", ()), getattr(flat, "_params", None) or (), getattr(flat, "_shapes", ()), strict=False
        )
        names += [canonical_name(f"{prefix}.{name}") for name, parameter, shape in whole if parameter.shape != shape]
    return names


def packed_in(model: nn.Module) -> tuple[str, ...]:
    """The modules that hold weights which are no parameters, packed into objects of C++, as torch's quantised ones do."""
    return tuple(
        name or type(model).__name__
        for name, module in model.named_modules()
        if type(module)._save_to_state_dict is not nn.Module._save_to_state_dict
        and any(isinstance(held, torch.ScriptObject) for held in vars(module).values())
    )


def experts_shard(module: Any, weight: Tensor) -> LocalShard | None:
    """Where the experts of this rank lie in the bank, when a module holds them as a plain tensor of their own.

    >>> experts_shard(experts, experts.w_down)  # rank 1 of 4, of 16 experts  # doctest: +SKIP
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
