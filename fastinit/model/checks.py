"""What must hold of a model before the first of its parameters is written. Every error names the parameters."""

from collections.abc import Collection, Hashable, Iterable, Sequence
from functools import lru_cache

import numpy as np
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fastinit.law.distributions import Distribution
from fastinit.law.lowering import lower
from fastinit.model.planned import Planned
from fastinit.model.shown import shown
from fastinit.model.tiles import Tiled
from fastinit.model.walk import Found, flat_shards
from fastinit.shard.described import describe
from fastinit.shard.kinds import Kind, suspects
from fastinit.shard.memory import Strided, shared
from fastinit.shard.storage import dtype_name
from fastinit.stream import Key


def check_present(model: nn.Module, found: Sequence[Found]) -> None:
    """That each parameter is a tensor of its own shape, as far as this rank holds it."""
    lazy = [parameter.name for parameter in found if parameter.kind is None and is_lazy(parameter.parameter)]
    if lazy:
        raise TypeError(
            "model: expected parameters with a shape, got lazy ones; run the model once, or materialize() them: "
            + ", ".join(lazy)
        )
    flat = flat_shards(model)
    if flat:
        raise ValueError(
            "model: expected whole parameters or DTensors, got what FullyShardedDataParallel has cut out of a flat one; "
            "fill the model before it is wrapped or within FullyShardedDataParallel.summon_full_params, or use "
            f"fully_shard: {', '.join(flat)}"
        )
    empty = _empty(found)
    if empty:
        raise ValueError(
            "model: expected parameters with elements, got placeholders without any, as DeepSpeed's ZeRO-3 leaves them "
            f"outside of GatheredParameters: {', '.join(empty)}"
        )


def _empty(found: Sequence[Found]) -> list[str]:
    kinds = {parameter.kind for parameter in found}
    empty = {kind for kind in kinds if kind is None or 0 in kind.global_shape}
    if not empty:
        return []
    return [part.name for part in found if part.kind in empty and (part.kind or part.parameter.numel() == 0)]


def check_streams(found: Iterable[Found], keys: Sequence[Key]) -> None:
    """Equal streams are equal values: two parameters of one canonical name, or a collision of the digest."""
    if len({key.stream for key in keys}) == len(keys):
        return
    by_stream: dict[int, Found] = {}
    for parameter, key in zip(found, keys, strict=True):
        other = by_stream.setdefault(key.stream, parameter)
        if other is not parameter:
            names = f"{other.name} and {parameter.name}"
            raise ValueError(f"model: expected a stream id for each parameter, got one for {names}")


def check_apart(parameters: Sequence[Found], untouched: Collection[int]) -> None:
    """That no parameter which is filled overlaps another one in memory; ``untouched`` are positions of those that are not.

    Those that are the same there are one already, by walk.tied; of those that stay as they are, any two may overlap.
    """
    spaces: dict[Hashable, list[tuple[int, int, Strided]]] = {}
    for position, parameter in enumerate(parameters):
        kind, address = parameter.kind, parameter.address
        if kind is not None and kind.strided is not None and address:
            spaces.setdefault(kind.device, []).append((position, address, kind.strided))
        elif address is None and (memory := parameter.memory) is not None:
            spaces.setdefault(memory.space, []).append((position, *memory[1:]))
    for placed in spaces.values():
        numbers: dict[Strided, int] = {}
        positions, addresses, strided = zip(*placed, strict=True)
        layout = [numbers.setdefault(known, len(numbers)) for known in strided]
        written = np.array([position not in untouched for position in positions], np.bool_)
        found = shared(np.array(addresses, np.int64), list(numbers), np.array(layout, np.int64), written)
        if found is not None:
            one, other = (parameters[positions[k]].name for k in found)
            raise ValueError(
                "model: expected parameters with memory of their own, or all of it in common with the same shape, "
                f"strides and dtype, got some that {one} and {other} both have"
            )


def check_fillable(plan: Sequence[Planned]) -> None:
    """What a fill would raise of a dense tensor, raised before the first fill, with the parameter's name."""
    first: dict[Hashable, int] = {}
    alone: list[int] = []  # those of which no other one says enough
    alike: list[tuple[int, Tensor, Kind]] = []
    for position, ((found, _, shard), _, law, _) in enumerate(plan):
        if law is None:
            continue
        if found.kind is None:
            alone.append(position)
        elif first.setdefault((found.kind, id(law), shard), position) != position:
            alike.append((position, found.parameter, found.kind))
    if alike:
        positions, tensors, kinds = zip(*alike, strict=True)
        alone += [positions[k] for k in suspects(tensors, kinds)]
    for position in sorted({*first.values(), *alone}):
        planned = plan[position]
        try:
            _check(planned)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{shown(planned.name)}: {str(error).removeprefix('tensor: ')}") from None


def _check(planned: Planned) -> None:
    law, tensor = planned.law, planned.parameter
    describe(tensor, planned.shard)
    for part_law in [tile.law for tile in law.tiles] if isinstance(law, Tiled) else [law]:
        if isinstance(part_law, Distribution):
            _check_value(part_law, dtype_name(tensor.dtype))


@lru_cache(maxsize=4096)
def _check_value(law: Distribution, dtype: str) -> None:
    """Raise ``ValueError`` unless the law has a value of the dtype."""
    lower(law).bounds(dtype)
