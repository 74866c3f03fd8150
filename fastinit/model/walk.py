"""The parameters of a model: their names, which of them are one, and where its plain shards lie."""

import sys
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fastinit.model.modules import having, named_where
from fastinit.shard import dtensor
from fastinit.shard.geometry import LocalShard
from fastinit.shard.kinds import Kind, Kinds
from fastinit.shard.storage import Memory, memory_of
from fastinit.stream import WRAPPER_PARTS, canonical_name


class Found(NamedTuple):
    """A parameter of a model: the module that owns it, and its names there. More than one: it is tied.

    ``paths`` are the names as the modules have them, with the parts that wrappers add; ``memory`` is where its elements lie,
    and ``kind`` what it has in common with others, where it is one of those that can be told by that.
    """

    parameter: Tensor
    owner: nn.Module
    names: tuple[str, ...]
    paths: tuple[str, ...]
    kind: Kind | None
    memory: Memory | None

    @property
    def name(self) -> str:
        """The name that its key comes from: the first in the order of the model's modules."""
        return self.names[0]

    def sibling(self, path: str) -> str:
        """The name of another parameter, from the module that owns this one."""
        return ".".join([*self.name.split(".")[:-1], path])


_Use = tuple[Tensor, nn.Module, str, str]  # a parameter, its module, its canonical name, and the name that modules have


def parameters_of(model: nn.Module) -> list[Found]:
    """The parameters of a model, each once, by canonical name."""
    uses: list[_Use] = []
    _walk(model, "", "", uses)
    first: dict[int, _Use] = {}
    again: dict[int, list[_Use]] = {}
    for use in uses:
        if first.setdefault(id(use[0]), use) is not use:
            again.setdefault(id(use[0]), []).append(use)
    kinds = Kinds()
    return [_found(use, again.get(key, ()), kinds) for key, use in first.items()]


def _walk(module: nn.Module, name: str, path: str, uses: list[_Use]) -> None:
    """All uses under a module of that name, which ends in a dot, in the order of ``named_modules``.

    That and ``named_parameters`` are generators within one another, one a level: they take longer than a fill.
    """
    kind = type(module)
    if kind.named_modules is not nn.Module.named_modules:
        for prefix, owner in module.named_modules(prefix=path[:-1], remove_duplicate=False):
            uses += _named(owner, prefix)
        return
    if kind.named_parameters is not nn.Module.named_parameters:
        uses += _named(module, path[:-1])
    else:
        for leaf, parameter in module._parameters.items():
            if parameter is not None:
                own = path + leaf
                uses.append((parameter, module, name + leaf if _part(leaf) else canonical_name(own), own))
    for child_name, child in module._modules.items():
        if child is not None:
            _walk(child, name + _part(child_name), f"{path}{child_name}.", uses)


def _named(owner: nn.Module, prefix: str) -> Iterator[_Use]:
    """The uses of a module's own parameters, as torch's generators have them."""
    for path, parameter in owner.named_parameters(prefix=prefix, recurse=False):
        yield parameter, owner, canonical_name(path), path


@lru_cache(maxsize=4096)  # of a model's thousands of modules, most have a number for a name
def _part(name: str) -> str:
    """What a module's name adds to canonical names, with a dot behind; nothing where it is a wrapper's."""
    return "".join(f"{part}." for part in name.split(".") if part and part not in WRAPPER_PARTS)


def _found(use: _Use, again: Iterable[_Use], kinds: Kinds) -> Found:
    parameter, owner, name, path = use
    names: tuple[str, ...] = (name,)
    paths: tuple[str, ...] = (path,)
    for _, _, name, path in again:
        if all(path.rpartition(".")[0] != other.rpartition(".")[0] for other in paths):  # a module has it once
            names, paths = tuple(dict.fromkeys((*names, name))), (*paths, path)
    kind = kinds.of(parameter)
    return Found(parameter, owner, names, paths, kind, kind.memory(parameter) if kind else memory_of(parameter))


def tied(found: Sequence[Found]) -> list[Found]:
    """The same with each memory once: parameters that are the same elements of one storage are one, tied.

    It is the first of them; the others' names follow.
    """
    places = [parameter.memory[:2] for parameter in found if parameter.memory is not None]
    if len(set(places)) == len(places):
        return list(found)
    by_memory: dict[Hashable, Found] = {}
    for parameter in found:
        memory: Hashable = id(parameter.parameter)
        if parameter.memory is not None:
            memory = parameter.memory, parameter.parameter.dtype, dtensor.logical(parameter.parameter)
        first = by_memory.get(memory)
        if first is not None:
            names = tuple(dict.fromkeys((*first.names, *parameter.names)))
            parameter = first._replace(names=names, paths=(*first.paths, *parameter.paths))
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
    for prefix, module in named_where(model, lambda module: "_handle" in vars(module)):
        flat = getattr(vars(module)["_handle"], "flat_param", None)
        whole = zip(
            getattr(flat, "_fqns", ()), getattr(flat, "_params", None) or (), getattr(flat, "_shapes", ()), strict=False
        )
        names += [canonical_name(f"{prefix}.{name}") for name, parameter, shape in whole if parameter.shape != shape]
    return names


def packed_in(model: nn.Module) -> tuple[str, ...]:
    """The modules that hold weights which are no parameters, packed into objects of C++, as torch's quantised ones do."""
    return tuple(
        name or type(model).__name__
        for name, module in named_where(model, _saves_otherwise)
        if any(isinstance(held, torch.ScriptObject) for held in vars(module).values())
    )


def _saves_otherwise(module: nn.Module) -> bool:
    return type(module)._save_to_state_dict is not nn.Module._save_to_state_dict


def experts_shards(found: Sequence[Found]) -> Iterator[LocalShard | None]:
    """The experts' shard of each parameter, where its module says it."""
    telling = {id(module) for module in having((parameter.owner for parameter in found), "num_local_experts")}
    for parameter in found:
        yield experts_shard(parameter.owner, parameter.parameter) if id(parameter.owner) in telling else None


def experts_shard(module: Any, weight: Tensor) -> LocalShard | None:
    """Where the experts of this rank lie in the bank, when a module holds them as a plain tensor of their own.

    >>> experts_shard(experts, experts.w_down)  # rank 1 of 4, of 16 experts  # doctest: +SKIP
    LocalShard(global_shape=(16, 512, 256), global_offset=(4, 0, 0))

    The module says so by ``num_experts``, ``num_local_experts`` and ``ep_rank``; None where nothing is sharded, and for
    a ``DTensor``, which knows its place.
    """
    local = getattr(module, "num_local_experts", None)
    if local is None:
        return None
    whole, rank = getattr(module, "num_experts", None), getattr(module, "ep_rank", None)
    if whole is None or rank is None or local == whole or dtensor.is_dtensor(weight):
        return None
    return LocalShard((whole, *weight.shape[1:]), (rank * local, *[0] * (weight.ndim - 1)))
