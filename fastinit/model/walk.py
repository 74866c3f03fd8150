"""The parameters of a model: their names, which of them are one, and where its plain shards lie."""

import sys
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fastinit.model.columns import columns, records
from fastinit.model.modules import every, having
from fastinit.model.names import Like
from fastinit.model.uses import LOCAL_EXPERTS, Use, uses_of
from fastinit.shard import dtensor
from fastinit.shard.geometry import LocalShard
from fastinit.shard.kinds import Kind, seen
from fastinit.shard.storage import Memory, memory_of
from fastinit.stream import canonical_name


class Found(NamedTuple):
    """A parameter of a model: the module that owns it, and its name there. One with other names too, in ``tied``, is tied.

    ``name`` is the one that its key comes from: the first in the order of the model's modules. ``path`` and ``tied_paths`` are
    the names as the modules have them, with the parts that wrappers add. ``like`` is the place of the name among others', and
    ``block`` the number of a block in it.

    ``kind`` is what it has in common with others, where it is one of those that can be told by that, and ``address`` where its
    first element lies on this rank: 0 where it has none, None where that is not all there is to know of its memory. One that is
    ``suspect`` may have something wrong that others of its kind have not.
    """

    parameter: Tensor
    owner: nn.Module
    name: str
    path: str
    like: Like
    block: int | None
    tied: tuple[str, ...]
    tied_paths: tuple[str, ...]
    kind: Kind | None
    address: int | None
    suspect: bool

    @property
    def names(self) -> tuple[str, ...]:
        """All of its names."""
        return self.name, *self.tied

    @property
    def paths(self) -> tuple[str, ...]:
        """All of its names as the modules have them."""
        return self.path, *self.tied_paths

    @property
    def memory(self) -> Memory | None:
        """Where its elements lie."""
        return self.kind.memory(self.parameter) if self.kind else memory_of(self.parameter)

    def sibling(self, path: str) -> str:
        """The name of another parameter, from the module that owns this one."""
        return ".".join([*self.name.split(".")[:-1], path])


def parameters_of(model: nn.Module) -> list[Found]:
    """The parameters of a model, each once, by canonical name."""
    return found_by(uses_of(model).uses)


def found_by(uses: Sequence[Use]) -> list[Found]:
    """The parameters of which these are the uses, each once."""
    own = columns(uses, 6)
    nothing: list[Any] = [()] * len(uses)
    ties = [nothing, nothing]
    if len(set(map(id, own[0]))) < len(uses):
        *own, names, paths = columns(list(_once(uses)), 8)
        ties = [names, paths]
    kinds, addresses, suspects = seen(own[0])
    suspected = [False] * len(kinds)
    for position in suspects:
        suspected[position] = True
    return records(Found, *own, *ties, kinds, addresses, suspected)


def _once(uses: Sequence[Use]) -> Iterator[tuple[Any, ...]]:
    """Each parameter's first use, with all of its other names and paths."""
    by_identity: dict[int, list[Use]] = {}
    for use in uses:
        by_identity.setdefault(id(use[0]), []).append(use)
    for first, *again in by_identity.values():
        _, *names = dict.fromkeys([first[2], *(name for _, _, name, _, _, _ in again)])
        yield *first, tuple(names), tuple(path for _, _, _, path, _, _ in again)


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
            _, *names = dict.fromkeys((*first.names, *parameter.names))
            parameter = first._replace(tied=tuple(names), tied_paths=(*first.tied_paths, *parameter.paths))
        by_memory[memory] = parameter
    return list(by_memory.values())


def flat_shards(model: nn.Module, classes: Iterable[type[nn.Module]] | None = None) -> list[str]:
    """The parameters that FullyShardedDataParallel has cut: views of this rank's part of a flat parameter, without shape.

    With ``use_orig_params`` they pass for parameters, though neither their shape nor their first element is told by
    them. ``_handle`` and what it holds are private; the flat parameter lists its own as they were. ``classes`` are those of
    the model's modules, where they are known.
    """
    names: list[str] = []
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None:
        return names
    classes = set(map(type, every(model))) if classes is None else classes
    if not any(issubclass(kind, fsdp.FullyShardedDataParallel) for kind in classes):
        return names
    for prefix, module in model.named_modules():
        flat = getattr(vars(module).get("_handle"), "flat_param", None)
        whole = zip(
            getattr(flat, "_fqns", ()), getattr(flat, "_params", None) or (), getattr(flat, "_shapes", ()), strict=False
        )
        names += [canonical_name(f"{prefix}.{name}") for name, parameter, shape in whole if parameter.shape != shape]
    return names


def packed_in(model: nn.Module, classes: Iterable[type[nn.Module]] | None = None) -> tuple[str, ...]:
    """The modules that hold weights which are no parameters, packed into objects of C++, as torch's quantised ones do.

    ``classes`` are those of its modules, where they are known.
    """
    classes = set(map(type, every(model))) if classes is None else classes
    packing = {kind for kind in classes if kind._save_to_state_dict is not nn.Module._save_to_state_dict}
    return tuple(
        name or type(model).__name__
        for name, module in (model.named_modules() if packing else ())
        if type(module) in packing and any(isinstance(held, torch.ScriptObject) for held in vars(module).values())
    )


def experts_shards(found: Sequence[Found], telling: Iterable[nn.Module]) -> list[LocalShard | None]:
    """The experts' shard of each parameter, where its module is one of those that tell it. Equal ones are one."""
    owners = {id(module) for module in having(telling, LOCAL_EXPERTS)}
    if not owners:
        return [None] * len(found)
    known: dict[LocalShard, LocalShard] = {}
    shards: list[LocalShard | None] = []
    for parameter in found:
        shard = experts_shard(parameter.owner, parameter.parameter) if id(parameter.owner) in owners else None
        shards.append(shard and known.setdefault(shard, shard))
    return shards


def experts_shard(module: Any, weight: Tensor) -> LocalShard | None:
    """Where the experts of this rank lie in the bank, when a module holds them as a plain tensor of their own.

    >>> experts_shard(experts, experts.w_down)  # rank 1 of 4, of 16 experts  # doctest: +SKIP
    LocalShard(global_shape=(16, 512, 256), global_offset=(4, 0, 0))

    The module says so by ``num_experts``, ``num_local_experts`` and ``ep_rank``; None where nothing is sharded, and for
    a ``DTensor``, which knows its place.
    """
    local = getattr(module, LOCAL_EXPERTS, None)
    if local is None:
        return None
    whole, rank = getattr(module, "num_experts", None), getattr(module, "ep_rank", None)
    if whole is None or rank is None or local == whole or dtensor.is_dtensor(weight):
        return None
    return LocalShard((whole, *weight.shape[1:]), (rank * local, *[0] * (weight.ndim - 1)))
