"""What must hold of a model before the first of its parameters is written. Every error names the parameters."""

from collections.abc import Hashable, Iterable, Sequence
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
from fastinit.model.tiles import Content, Tiled
from fastinit.model.walk import Found, flat_shards
from fastinit.shard.described import describe
from fastinit.shard.memory import Strided, shared
from fastinit.shard.storage import dtype_name
from fastinit.stream import Key


def check_present(model: nn.Module, found: Sequence[Found], classes: Iterable[type[nn.Module]] | None = None) -> None:
    """That each parameter is a tensor of its own shape, as far as this rank holds it.

    ``classes`` are those of the model's modules, where they are known.
    """
    lazy = [parameter.name for parameter in found if parameter.kind is None and is_lazy(parameter.parameter)]
    if lazy:
        raise TypeError(
            "model: expected parameters with a shape, got lazy ones; run the model once, or materialize() them: "
            + ", ".join(lazy)
        )
    flat = flat_shards(model, classes)
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


def check_apart(found: Sequence[Found], laws: Sequence[Content | None]) -> None:
    """That no parameter which is filled overlaps another one in memory.

    Those that are the same there are one already, by walk.tied; of those that stay as they are, any two may overlap.
    """
    spaces: dict[Hashable, int] = {}
    layouts: dict[Strided, int] = {}

    def numbers(space: Hashable, strided: Strided) -> tuple[int, int]:
        return spaces.setdefault(space, len(spaces)), layouts.setdefault(strided, len(layouts))

    kinds = list({parameter.kind: None for parameter in found})
    of_kind = [numbers(kind.device, kind.strided) if kind and kind.strided else (-1, -1) for kind in kinds]
    number = {kind: k for k, kind in enumerate(kinds)}
    space, layout = np.array(of_kind, np.int64).reshape(-1, 2)[[number[parameter.kind] for parameter in found]].T.copy()
    addresses = np.array([parameter.address or 0 for parameter in found], np.int64)
    space[addresses == 0] = -1
    for position in [k for k, parameter in enumerate(found) if parameter.address is None]:
        memory = found[position].memory
        if memory is not None:
            space[position], layout[position] = numbers(memory.space, memory.strided)
            addresses[position] = memory.address
    written = np.array([law is not None for law in laws], np.bool_)
    order = np.argsort(space, kind="stable")
    for placed in np.split(order, np.flatnonzero(np.diff(space[order])) + 1):
        if len(placed) < 2 or space[placed[0]] < 0:
            continue
        pair = shared(addresses[placed], list(layouts), layout[placed], written[placed])
        if pair is not None:
            one, other = (found[placed[k]].name for k in pair)
            raise ValueError(
                "model: expected parameters with memory of their own, or all of it in common with the same shape, "
                f"strides and dtype, got some that {one} and {other} both have"
            )


def check_fillable(plan: Sequence[Planned]) -> None:
    """What a fill would raise of a dense tensor, raised before the first fill, with the parameter's name."""
    first: dict[Hashable, int] = {}
    for position, ((found, _, shard), _, law, _) in enumerate(plan):
        if law is not None:
            alike = (found.kind, id(law), shard) if found.kind and not found.suspect else position
            first.setdefault(alike, position)
    for position in first.values():
        planned = plan[position]
        try:
            _check(planned)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{shown(planned.name)}: {str(error).removeprefix('tensor: ')}") from None


def _check(planned: Planned) -> None:
    law, tensor = planned.law, planned.parameter
    describe(tensor, planned.shard)
    for part_law in [tile.law for tile in law.tiles] if isinstance(law, Tiled) else [law]:
        if isinstance(part_law, Distribution | Constant):
            _check_value(part_law, tensor.dtype)


@lru_cache(maxsize=4096)
def _check_value(law: Distribution | Constant, dtype: torch.dtype) -> None:
    """Raise ``ValueError`` unless the law has a value of the dtype."""
    name = dtype_name(dtype)
    if isinstance(law, Distribution):
        lower(law).bounds(name)
    elif isfinite(law.value) and abs(law.value) > torch.finfo(dtype).max:
        raise ValueError(f"constant: expected a number within the range of {name}, got {law.value:g}")
