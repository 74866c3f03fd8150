"""The parameters of a model: their names, which of them are one, and where its plain shards lie."""

import sys
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fastinit.model.columns import records
from fastinit.model.modules import every, having
from fastinit.model.names import Like
from fastinit.shard import dtensor
from fastinit.shard.geometry import LocalShard
from fastinit.shard.kinds import Kind, kinds_of, locals_of
from fastinit.shard.storage import Memory, memory_of
from fastinit.stream import canonical_name


class Found(NamedTuple):
    """A parameter of a model: the module that owns it, and its names there. More than one: it is tied.

    ``paths`` are the names as the modules have them, with the parts that wrappers add; ``kind`` is what it has in common with
    others, where it is one of those that can be told by that, and ``address`` where its first element lies on this rank: 0 where
    it has none, None where that is not all there is to know of its memory. ``like`` is the place of its name among others'.
    """

    parameter: Tensor
    owner: nn.Module
    names: tuple[str, ...]
    paths: tuple[str, ...]
    like: Like
    block: int | None
    kind: Kind | None
    address: int | None

    @property
    def name(self) -> str:
        """The name that its key comes from: the first in the order of the model's modules."""
        return self.names[0]

    @property
    def memory(self) -> Memory | None:
        """Where its elements lie."""
        return self.kind.memory(self.parameter) if self.kind else memory_of(self.parameter)

    def sibling(self, path: str) -> str:
        """The name of another parameter, from the module that owns this one."""
        return ".".join([*self.name.split(".")[:-1], path])


# A parameter, its module, its canonical name, the name that modules have, and the place of the first.
_Use = tuple[Tensor, nn.Module, str, str, Like, int | None]


def parameters_of(model: nn.Module) -> list[Found]:
    """The parameters of a model, each once, by canonical name."""
    uses = _uses_of(model)
    if not uses:
        return []
    parameters, owners, names, paths, likes, blocks = zip(*uses, strict=True)
    ways = [(name,) for name in names], [(path,) for path in paths]
    if len(set(map(id, parameters))) < len(uses):
        parameters, owners, *ways, likes, blocks = zip(*_once(uses), strict=True)
    kinds = kinds_of(parameters)
    return records(Found, parameters, owners, *ways, likes, blocks, kinds, _addresses(parameters, kinds))


def _uses_of(model: nn.Module) -> list[_Use]:
    """All uses of parameters, in the order of ``named_modules``.

    That and ``named_parameters`` are generators within one another, one a level: they take longer than a fill.
    """
    root = Like()
    uses: list[Any] = []
    ways: dict[type, tuple[bool, bool]] = {}  # whether a class names its modules as torch does, and its parameters
    left: list[tuple[nn.Module, str, str, Like, int | None]] = [(model, "", "", root, None)]  # names end in a dot
    while left:
        module, name, path, like, block = left.pop()
        way = ways.get(type(module))
        if way is None:
            way = ways[type(module)] = _way_of(type(module))
        if not way[0]:
            for prefix, owner in module.named_modules(prefix=path[:-1], remove_duplicate=False):
                uses += _named(owner, prefix, root)
            continue
        if not way[1]:
            uses += _named(module, path[:-1], root)
        else:
            for leaf, parameter in module._parameters.items():
                if parameter is not None:
                    _, last, there, number, plain = like.steps.get(leaf) or like.step(leaf)
                    own = name + last if last else canonical_name(path + leaf)
                    full = own if plain and path is name else path + leaf
                    uses.append((parameter, module, own, full, there, number if block is None else block))
        if module._modules:
            for leaf, child in reversed(module._modules.items()):
                if child is not None:
                    added, _, there, number, plain = like.steps.get(leaf) or like.step(leaf)
                    below = name + added
                    full = below if plain and path is name else f"{path}{leaf}."
                    left.append((child, below, full, there, number if block is None else block))
    return uses


def _way_of(kind: type[nn.Module]) -> tuple[bool, bool]:
    return kind.named_modules is nn.Module.named_modules, kind.named_parameters is nn.Module.named_parameters


def _named(owner: nn.Module, prefix: str, root: Like) -> Iterator[_Use]:
    """The uses of a module's own parameters, as torch's generators have them."""
    for path, parameter in owner.named_parameters(prefix=prefix, recurse=False):
        name = canonical_name(path)
        like, block = root.of(name)
        yield parameter, owner, name, path, like, block


def _once(uses: Sequence[_Use]) -> Iterator[tuple[Any, ...]]:
    """Each parameter's first use, with all of its names and paths."""
    by_identity: dict[int, list[_Use]] = {}
    for use in uses:
        by_identity.setdefault(id(use[0]), []).append(use)
    for (parameter, owner, name, path, like, block), *again in by_identity.values():
        names, paths = [name], [path]
        for _, _, other_name, other, _, _ in again:
            if all(other.rpartition(".")[0] != path.rpartition(".")[0] for path in paths):  # a module has it once
                names.append(other_name)
                paths.append(other)
        yield parameter, owner, tuple(dict.fromkeys(names)), tuple(paths), like, block


def _addresses(parameters: Sequence[Tensor], kinds: Sequence[Kind | None]) -> list[int | None]:
    """Where each parameter's first element lies."""
    addressed = {kind for kind in set(kinds) if kind is not None and kind.has_memory}
    empty = {kind for kind in set(kinds) if kind is not None and kind.strided is None}
    return [
        local.data_ptr() if kind in addressed else 0 if kind in empty else None
        for local, kind in zip(locals_of(parameters, kinds), kinds, strict=True)
    ]


def tied(found: list[Found]) -> list[Found]:
    """The same with each memory once: parameters that are the same elements of one storage are one, tied.

    It is the first of them; the others' names follow.
    """
    addresses = [parameter.address for parameter in found if parameter.address != 0]
    if None not in addresses and len(set(addresses)) == len(addresses):
        return found
    by_memory: dict[Hashable, Found] = {}
    for parameter in found:
        memory: Hashable = parameter.memory
        if memory is None:
            memory = id(parameter.parameter)
        else:
            memory = memory, parameter.parameter.dtype, dtensor.logical(parameter.parameter)
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
    if "torch.distributed.fsdp" not in sys.modules or not having(every(model), "_handle"):
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
    if not any(map(_saves_otherwise, set(map(type, every(model))))):
        return ()
    return tuple(
        name or type(model).__name__
        for name, module in model.named_modules()
        if _saves_otherwise(type(module)) and any(isinstance(held, torch.ScriptObject) for held in vars(module).values())
    )


def _saves_otherwise(kind: type[nn.Module]) -> bool:
    return kind._save_to_state_dict is not nn.Module._save_to_state_dict


def experts_shards(found: Sequence[Found]) -> list[LocalShard | None]:
    """The experts' shard of each parameter, where its module says it. Equal ones are one."""
    telling = {id(module) for module in having((parameter.owner for parameter in found), "num_local_experts")}
    if not telling:
        return [None] * len(found)
    known: dict[LocalShard, LocalShard] = {}
    shards: list[LocalShard | None] = []
    for parameter in found:
        shard = experts_shard(parameter.owner, parameter.parameter) if id(parameter.owner) in telling else None
        shards.append(shard and known.setdefault(shard, shard))
    return shards


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
