"""What must hold of a model before the first of its parameters is written. Every error names the parameters."""

from collections.abc import Collection, Hashable, Iterable, Sequence
from functools import lru_cache
from math import isfinite

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from fastinit.law.distributions import Distribution
from fastinit.law.lowering import lower
from fastinit.law.transformed import Constant
from fastinit.model.planned import Planned
from fastinit.model.shown import shown
from fastinit.model.tiles import Tiled
from fastinit.model.walk import Found, flat_shards
from fastinit.shard.described import describe
from fastinit.shard.memory import Strided, shared
from fastinit.shard.storage import Memory, dtype_name
from fastinit.stream import Key


def check_present(model: nn.Module, found: Iterable[Found]) -> None:
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
    empty = [parameter.name for parameter in found if _is_empty(parameter)]
    if empty:
        raise ValueError(
            "model: expected parameters with elements, got placeholders without any, as DeepSpeed's ZeRO-3 leaves them "
            f"outside of GatheredParameters: {', '.join(empty)}"
        )


def _is_empty(found: Found) -> bool:
    return found.parameter.numel() == 0 if found.kind is None else 0 in found.kind.global_shape


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


def check_apart(parameters: Iterable[Found], untouched: Collection[str]) -> None:
    """That no parameter which is filled overlaps another one in memory.

    Those that are the same there are one already, by walk.tied; of those that stay as they are, any two may overlap.
    """
    spaces: dict[Hashable, list[tuple[str, Memory]]] = {}
    for parameter in parameters:
        if parameter.memory is not None:
            spaces.setdefault(parameter.memory.space, []).append((parameter.names[0], parameter.memory))
    for placed in spaces.values():
        numbers: dict[Strided, int] = {}
        layout = [numbers.setdefault(memory.strided, len(numbers)) for _, memory in placed]
        addresses = np.array([memory.address for _, memory in placed], np.int64)
        written = np.array([name not in untouched for name, _ in placed], np.bool_)
        found = shared(addresses, list(numbers), np.array(layout, np.int64), written)
        if found is not None:
            one, other = (placed[k][0] for k in found)
            raise ValueError(
                "model: expected parameters with memory of their own, or all of it in common with the same shape, "
                f"strides and dtype, got some that {one} and {other} both have"
            )


def check_fillable(plan: Iterable[Planned]) -> None:
    """What a fill would raise of a dense tensor, raised before the first fill, with the parameter's name."""
    checked: set[Hashable] = set()
    for planned in plan:
        part, law = planned.part, planned.law
        if law is None:
            continue
        kind = part.found.kind
        alike = id(kind), id(law), part.shard  # both are alive as long as the plan is
        try:
            if kind is None or alike not in checked:
                describe(part.found.parameter, part.shard)
                for part_law in [tile.law for tile in law.tiles] if isinstance(law, Tiled) else [law]:
                    if isinstance(part_law, Distribution | Constant):
                        _check_value(part_law, part.found.parameter.dtype)
                checked.add(alike)
            else:
                kind.check_own(part.found.parameter)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{shown(planned.name)}: {str(error).removeprefix('tensor: ')}") from None


@lru_cache(maxsize=4096)
def _check_value(law: Distribution | Constant, dtype: torch.dtype) -> None:
    """Raise ``ValueError`` unless the law has a value of the dtype."""
    name = dtype_name(dtype)
    if isinstance(law, Distribution):
        lower(law).bounds(name)
    elif isfinite(law.value) and abs(law.value) > torch.finfo(dtype).max:
        raise ValueError(f"constant: expected a number within the range of {name}, got {law.value:g}")
