"""What an operator makes, as a value: read off what the storages held when it ran."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from fastinit.recipe.operators import Arguments, Kind, Named, Operator, tensors_in, with_tensors
from fastinit.recipe.running import ELSE
from fastinit.recipe.storages import Storages
from fastinit.recipe.values import Call, Foreign, Literal, Lost, Same, Settled, Unwritten, Value, inputs_of
from fastinit.shard import dtensor

_aten = torch.ops.aten
_LIFT = _aten.lift_fresh.default
_INDEXED = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default}
_UNWRITTEN = Unwritten()


def value_of(function: OpOverload, operator: Operator, args: Arguments, kwargs: Named, storages: Storages) -> Value:
    """What an operator makes, told before it runs, as what it reads may be written over."""
    if operator.opaque or operator.random:
        return Lost(f"it went through {function}")
    if operator.kind is Kind.EMPTY:
        return _UNWRITTEN
    if function.namespace == "fastinit":
        return Settled()
    if operator.kind is Kind.OVERWRITE:  # not a part of what they make: what was there before
        return _copied(args[0], args[1], storages)
    if operator.kind is Kind.FILL:
        number = args[1] if len(args) > 1 else 0
        if args[0].is_floating_point():
            return Same(float(number), tuple(args[0].shape))
        return Call(_aten.full.default, (list(args[0].shape), number), {"dtype": args[0].dtype}, None)
    if function in _INDEXED and any(_is_list(index, storages) for index in args[1]):
        return Lost(
            f"it is indexed by a list, whose numbers are not there on the meta device; index by a tensor, or {ELSE}"
        )
    outs = {
        name: Same(0.0, tuple(kwargs[name].shape))
        for _, name in operator.written
        if isinstance(kwargs.get(name), Tensor)
    }
    read = with_tensors(storages.read, (args, {**kwargs, **outs}))
    call = Call(function, read[0], read[1], None)
    return next((value for value in inputs_of(call) if isinstance(value, Lost)), call)


def _is_list(index: Tensor | None, storages: Storages) -> bool:
    """Whether an index was given as a list: torch makes a tensor of that where no mode sees it, without numbers on meta."""
    return index is not None and index.is_meta and isinstance(storages.read(index), Unwritten)


def _copied(to: Tensor, source: Tensor, storages: Storages) -> Value:
    """What a tensor holds once another was copied into it."""
    value = storages.read(source)
    if isinstance(value, Same):
        value = replace(value, shape=tuple(to.shape))
    same = to.shape == source.shape or isinstance(value, Same)
    if isinstance(value, Lost):
        return value
    if not to.is_floating_point():  # what is cut off there is lost
        value = Call(_aten._to_copy.default, (value,), {"dtype": to.dtype}, None)
    return value if same else Call(_aten.expand.default, (value, list(to.shape)), {}, None)


def join(
    function: OpOverload, args: Arguments, kwargs: Named, values: list[Value], result: Tensor, storages: Storages
) -> None:
    """Tensors that are put together are written one beside another, so that each keeps its law."""
    dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
    whole, start = storages.stand_in(result), 0
    storages.write(whole, Unwritten())
    for k, (tensor, value) in enumerate(zip(args[0], values, strict=True)):
        if function is _aten.stack.default:
            storages.write(whole.select(dim, k), value)
        elif tensor.numel():
            storages.write(whole.narrow(dim, start, tensor.shape[dim]), value)
            start += tensor.shape[dim]


def view(function: OpOverload, args: Arguments, kwargs: Named, result: Any, storages: Storages) -> None:
    """Note of views of DTensors what they are views of, and of numbers that were given in Python what they are."""
    made = tensors_in(result)
    if function is _LIFT:
        (tensor,) = made
        if not tensor.is_meta:
            storages.write(tensor, _given(tensor.detach()))
    elif any(map(dtensor.is_dtensor, made)):
        stand_ins = function(*with_tensors(storages.stand_in, args), **kwargs)
        for tensor, stand_in in zip(made, tensors_in(stand_ins), strict=True):
            if tensor is not stand_in:
                storages.let_stand(tensor, stand_in)


def _given(tensor: Tensor) -> Value:
    """Numbers that were given in Python; one alone is a number, so that what is computed of it may follow a law.

    NumPy's arrays are from elsewhere, told by their memory, which torch cannot resize. They are copied, as NumPy may write there.
    """
    if tensor.ndim == 0 and tensor.is_floating_point():
        return Same(tensor.item())
    return Literal(tensor.clone()) if tensor.untyped_storage().resizable() else Foreign(tensor.clone())
