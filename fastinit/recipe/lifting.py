"""Lifting: from what a framework computes of drawn numbers to the law that the result follows, where it follows one.

A normal times a number is a normal; the logarithm of a uniform is a law of its own; the inverse error function of a uniform, scaled
and clamped, is a truncated normal, as timm and torch up to 2.11 make it. Each rule is of monotone functions, so that the element
keeps its word. What no rule is for stays a call.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.transformed import InverseSoftplusOfLogUniform, LogOfUniform
from fastinit.recipe.draws import arguments_of
from fastinit.recipe.intermediate import ErrorInverse, TimeStep
from fastinit.recipe.values import Call, Drawn, Same, Value
from fastinit.shard.geometry import Shape

_DIGITS = 12  # of a number that comes back from exp(log(x))
_SOFTPLUS = ("neg", "expm1", "neg", "log")  # of a step x: log(1 - exp(-x)), which with x is the inverse of the softplus


def lifted(value: Value, shape: Shape) -> Value:
    """The value of a tensor of that shape, or what it is by a rule."""
    if not isinstance(value, Call) or value.result is not None or value.function.namespace != "aten":
        return value
    name = value.function.overloadpacket.__name__.rstrip("_")
    rule = _RULES.get(name)
    if rule is None:
        return value
    named = arguments_of(value.function, value.args, value.kwargs)
    try:
        found = rule(name, named)
    except (ArithmeticError, ValueError, TypeError):  # a law that is none, or an argument that is no number
        return value
    if isinstance(found, Same):
        return replace(found, shape=shape)
    return found if isinstance(found, Drawn) and found.lies.shape == shape else value


def _number(argument: Any) -> float:
    """A number, given as one or as a tensor that is the same everywhere."""
    return float(argument.value if isinstance(argument, Same) else argument)


def _scaled(name: str, named: dict[str, Any]) -> Value | None:
    """x * c, c * x, x / c."""
    x, c = named["self"], named["other"]
    if name == "mul" and isinstance(c, Drawn):
        x, c = c, x
    if isinstance(x, Drawn) and not isinstance(c, Drawn) and named.get("rounding_mode") is None:
        return _affine(x, 1 / _number(c) if name == "div" else _number(c), 0.0)
    if isinstance(x, Same) and named.get("rounding_mode") is None:
        return Same(x.value / _number(c) if name == "div" else x.value * _number(c))
    return None


def _shifted(name: str, named: dict[str, Any]) -> Value | None:
    """x + c, c + x, x - c; and a time step with the logarithm that makes it the inverse of a softplus."""
    x, c, times = named["self"], named["other"], named.get("alpha", 1)
    if isinstance(x, Drawn) and isinstance(c, Drawn):
        return _inverse_softplus(x, c) if name == "add" and times == 1 else None
    if name == "add" and times == 1 and isinstance(c, Drawn):
        x, c = c, x
    shift = _number(c) * times * (-1 if name == "sub" else 1)
    if isinstance(x, Drawn):
        return _affine(x, 1.0, shift)
    return Same(x.value + shift) if isinstance(x, Same) else None


def _affine(drawn: Drawn, scale: float, shift: float) -> Value | None:
    if scale == 0:
        return Same(shift)
    if scale < 0:
        return None  # the order of the words would turn round
    match drawn.law:
        case Normal(mean, std):
            return replace(drawn, law=Normal(mean * scale + shift, std * scale))
        case Uniform(a, b):
            return replace(drawn, law=Uniform(a * scale + shift, b * scale + shift))
        case TruncatedNormal(mean, std, a, b):
            numbers = mean * scale + shift, std * scale, a * scale + shift, b * scale + shift
            return replace(drawn, law=TruncatedNormal(*numbers))
        case ErrorInverse(low, high, mean, std):
            return replace(drawn, law=ErrorInverse(low, high, mean * scale + shift, std * scale))
    return None


def _inverse_softplus(step: Drawn, logarithm: Drawn) -> Value | None:
    if isinstance(step.law, TimeStep) and step.law.functions:
        step, logarithm = logarithm, step
    if not isinstance(step.law, TimeStep) or logarithm != replace(step, law=replace(step.law, functions=_SOFTPLUS)):
        return None
    return replace(step, law=InverseSoftplusOfLogUniform(step.law.low, step.law.high, step.law.floor))


def _function(name: str, named: dict[str, Any]) -> Value | None:
    """neg, exp, expm1, log, sqrt, erfinv."""
    x = named["self"]
    if isinstance(x, Same) and name in _OF_NUMBERS:
        return Same(_OF_NUMBERS[name](x.value))
    if not isinstance(x, Drawn):
        return None
    match name, x.law:
        case "log", Uniform(a, b) if a >= 0:
            return replace(x, law=LogOfUniform(a, b))
        case "erfinv", Uniform(low, high) if -1 <= low < high <= 1:
            return replace(x, law=ErrorInverse(low, high))
        case "exp", Uniform(a, b):
            return replace(x, law=TimeStep(_exp(a), _exp(b)))
        case _, TimeStep():
            return replace(x, law=replace(x.law, functions=(*x.law.functions, name)))
    return None


def _exp(x: float) -> float:
    """exp(x), where x is the logarithm of a number that somebody wrote."""
    return float(f"{math.exp(x):.{_DIGITS}g}")


_OF_NUMBERS: dict[str, Callable[[float], float]] = {
    "neg": lambda x: -x,
    "exp": math.exp,
    "expm1": math.expm1,
    "log": math.log,
    "sqrt": math.sqrt,
}


def _clamped(name: str, named: dict[str, Any]) -> Value | None:
    x = named["self"]
    low = -math.inf if named.get("min") is None else _number(named["min"])
    high = math.inf if named.get("max") is None else _number(named["max"])
    if isinstance(x, Same):
        return Same(min(max(x.value, low), high))
    if not isinstance(x, Drawn):
        return None
    match x.law:
        case ErrorInverse():
            law = x.law.truncated(low, high)
            return None if law is None else replace(x, law=law)
        case Uniform(a, b) | TruncatedNormal(_, _, a, b) if low <= a and b <= high:
            return x
        case TimeStep(_, top, _, ()) if high >= top:
            return replace(x, law=replace(x.law, floor=max(x.law.floor, low)))
    return None


def _same(name: str, named: dict[str, Any]) -> Value | None:
    """Tensors with one number everywhere."""
    if name.startswith(("zero", "new_zero")):
        return Same(0.0)
    if name.startswith(("one", "new_one")):
        return Same(1.0)
    number = next(named[key] for key in ("fill_value", "value", "s") if key in named)
    return Same(_number(number))


def _padded(name: str, named: dict[str, Any]) -> Value | None:
    """What is padded with the number that it consists of, as the vocabulary of a bias is; transformers pads by nothing, too."""
    x = named["self"]
    same = isinstance(x, Same) and (x.value == _number(named["value"]) or not any(named["pad"]))
    return x if same else None


def _copied(name: str, named: dict[str, Any]) -> Value | None:
    """A copy, of another dtype perhaps: a fill rounds once, to the dtype that it ends in."""
    x, dtype = named["self"] if name != "copy" else named["src"], named.get("dtype")
    if isinstance(x, Same):
        return x
    return x if isinstance(x, Drawn) and name != "copy" and (dtype is None or dtype.is_floating_point) else None


_RULES: dict[str, Callable[[str, dict[str, Any]], Value | None]] = {
    **dict.fromkeys(("mul", "div"), _scaled),
    **dict.fromkeys(("add", "sub"), _shifted),
    **dict.fromkeys(("neg", "exp", "expm1", "log", "sqrt", "erfinv"), _function),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max"), _clamped),
    **dict.fromkeys(
        (
            "zero",
            "zeros",
            "zeros_like",
            "new_zeros",
            "ones",
            "ones_like",
            "new_ones",
            "full",
            "full_like",
            "new_full",
            "fill",
        ),
        _same,
    ),
    "scalar_tensor": _same,
    "constant_pad_nd": _padded,
    **dict.fromkeys(("clone", "_to_copy", "copy", "expand"), _copied),
}
