"""Running an operator on tensors of which some are on the meta device, or DTensors that torch has no rule for."""

from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from fastinit.recipe.operators import Arguments, Named, Operator, tensors_in, with_tensors, written_by
from fastinit.recipe.storages import Storages
from fastinit.shard import dtensor

_COPY = torch.ops.aten.copy_.default
_TO_COPY = torch.ops.aten._to_copy.default

ELSE = 'record with device="cpu", or use fastinit.keyed on a model that has memory'

# How torch says that an operator has no rule for such placements, which is known before anything is done. An error of any other
# kind, as of memory or of the network, is one that the initialisation has without fastinit, too.
_NO_RULE = (
    "does not have a sharding strategy registered",
    "Sharding propagation failed",
    "got mixed torch.Tensor and DTensor",
    "as_strided not supported with DTensor",
)


def executed(function: OpOverload, operator: Operator, args: Arguments, kwargs: Named, storages: Storages) -> Any:
    """Run an operator. Where torch has no rule for DTensors, what stands for them is used: it has no values, only a shape."""
    if function is _COPY and dtensor.is_dtensor(args[0]) and not dtensor.is_dtensor(args[1]):
        return args[0]  # torch refuses it; in the end each rank gets its part of what was noted
    try:
        return _run(function, operator, args, kwargs)
    except RuntimeError as error:
        if not _is_without_rule(error) or not any(map(dtensor.is_dtensor, tensors_in((args, kwargs)))):
            raise
    written = written_by(operator, args, kwargs)
    result = _run(function, operator, *with_tensors(storages.stand_in, (args, kwargs)))
    return written[0] if written else result


def _is_without_rule(error: RuntimeError) -> bool:
    """Whether torch refuses an operator of DTensors, and does not fail at it."""
    text = str(error)
    return any(words in text for words in _NO_RULE) and not isinstance(
        error.__cause__, MemoryError | torch.OutOfMemoryError
    )


def _run(function: OpOverload, operator: Operator, args: Arguments, kwargs: Named) -> Any:
    """Run an operator on tensors of which some are on the meta device."""
    where = {tensor.is_meta for tensor in tensors_in(args)}
    if kwargs:
        where.update(tensor.is_meta for tensor in tensors_in(kwargs))
    if len(where) == 2:
        written = written_by(operator, args, kwargs)
        if written and not all(tensor.is_meta for tensor in written):
            return written[0] if function._schema.returns else None  # there are no values to write
        args, kwargs = with_tensors(_without_values, (args, kwargs))
    if True in where and function is _TO_COPY:
        kwargs = {**kwargs, "device": None}
    try:
        return function(*args, **kwargs)
    except NotImplementedError as error:  # which frameworks catch, and go another way
        if _is_without_rule(error) or True not in where:
            raise
        raise RuntimeError(f"init: expected operators that the meta device has, got {function}; {ELSE}") from error


def _without_values(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else torch.empty_like(tensor, device="meta")
