"""Which of torch's operators draw numbers, and from which law."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload

from fastinit.law.distributions import Distribution, Normal, Uniform

_aten = torch.ops.aten
Arguments = dict[str, Any]


class Draw(NamedTuple):
    """How an operator draws: its law by its arguments, and what makes the tensor that it draws into, if it makes one.

    ``kind`` is of one that draws into its first argument, with the two numbers of the law behind it.
    """

    law: Callable[[Arguments], Distribution]
    empty: Callable[[Arguments], Tensor] | None = None
    kind: Any = None


def drawn_by(function: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Distribution] | None:
    """The tensor that a random operator draws into, and its law; None for an operator that has no law of fastinit's."""
    draw = _DRAWS.get(function)
    if draw is None:
        return None
    if draw.kind is not None and len(args) == 3:  # a fill of a tensor in place, as nearly every one is
        tensor, law = args[0], _law(draw.kind, args[1], args[2])
    else:
        named = arguments_of(function, args, kwargs)
        tensor, law = named["self"] if draw.empty is None else draw.empty(named), draw.law(named)
    return (tensor, law) if tensor.is_floating_point() else None


def arguments_of(function: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """The arguments of a call by name, defaults included."""
    named = dict(_defaults(function))
    named.update(zip(named, args, strict=False))
    named.update(kwargs)
    return named


@lru_cache(maxsize=1024)
def _defaults(function: OpOverload) -> tuple[tuple[str, Any], ...]:
    return tuple((argument.name, argument.default_value) for argument in function._schema.arguments)


@lru_cache(maxsize=1024)
def _law(kind: type[Distribution], one: float, other: float) -> Distribution:
    """Thousands of parameters follow a handful of laws."""
    return kind(one, other)


def _standard_normal(_: Arguments) -> Distribution:
    return _law(Normal, 0.0, 1.0)


def _standard_uniform(_: Arguments) -> Distribution:
    return _law(Uniform, 0.0, 1.0)


def _normal(named: Arguments) -> Distribution:
    return _law(Normal, named["mean"], named["std"])


def _uniform(named: Arguments) -> Distribution:
    return _law(Uniform, named["from"], named["to"])


def _factory(named: Arguments) -> dict[str, Any]:
    return {name: named[name] for name in ("dtype", "layout", "device", "pin_memory") if named.get(name) is not None}


def _empty(named: Arguments) -> Tensor:
    return torch.empty(named["size"], **_factory(named))


def _empty_like(named: Arguments) -> Tensor:
    return torch.empty_like(
        named["self"], memory_format=named.get("memory_format") or torch.preserve_format, **_factory(named)
    )


_DRAWS = {
    _aten.normal_.default: Draw(_normal, kind=Normal),
    _aten.uniform_.default: Draw(_uniform, kind=Uniform),
    _aten.normal_functional.default: Draw(_normal, _empty_like),
    _aten.uniform.default: Draw(_uniform, _empty_like),
    _aten.normal.float_float: Draw(_normal, _empty),
    _aten.randn.default: Draw(_standard_normal, _empty),
    _aten.randn.generator: Draw(_standard_normal, _empty),
    _aten.randn_like.default: Draw(_standard_normal, _empty_like),
    _aten.rand.default: Draw(_standard_uniform, _empty),
    _aten.rand.generator: Draw(_standard_uniform, _empty),
    _aten.rand_like.default: Draw(_standard_uniform, _empty_like),
}
