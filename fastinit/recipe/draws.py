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
    """How an operator draws: its law by its arguments, and what makes the tensor that it draws into, if it makes one."""

    law: Callable[[Arguments], Distribution]
    empty: Callable[[Arguments], Tensor] | None = None


def is_random(function: OpOverload) -> bool:
    """Whether an operator draws from a generator, of whatever law: torch says so of each, new ones too."""
    return torch.Tag.nondeterministic_seeded in function.tags


def draw_of(function: OpOverload) -> Draw | None:
    """How an operator draws; None for one that has no law of fastinit's."""
    return _DRAWS.get(function)


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
    _aten.normal_.default: Draw(_normal),
    _aten.uniform_.default: Draw(_uniform),
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
