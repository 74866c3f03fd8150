"""How far the values of a law reach in fp32, at the ends and beside the split: which clamps its kernel can do without.

The kernels' functions are evaluated in fp64, with the kernels' own constants. An fp32 value differs from that by roundings
alone, for which there is an allowance, twice the sum of all of them at their worst. In between the functions rise.
"""

from collections.abc import Callable
from math import frexp, inf, log2, sqrt

from fastinit.law.formats import FORMATS, round_to
from fastinit.law.lowered import Lowered, Regime, nearest
from fastinit.law.quantile_table import LOG_BUMP, SKEW_CENTRE, SKEW_Y_STEP, WIDE_CENTRE, WIDE_Y_STEP

# Of x * P, relatively.
_CENTRAL_NOISE, _WIDE_NOISE, _SKEW_NOISE, _FLANK_NOISE = 2.0**-20, 2.0**-18, 2.0**-17, 2.0**-15
_FIRST, _LAST = -(2.0**31), 2.0**31  # as fp32: the last word rounds up


def ends(law: Lowered) -> tuple[float, float]:
    """The least and the greatest fp32 value before the bounds, or infinities where nothing is known of them."""
    match law.regime:
        case Regime.CONSTANT:
            return law.shift, law.shift
        case Regime.UNIFORM:
            return law.offset, nearest(2.0**32 * law.scale + law.offset)
        case Regime.CENTRAL:
            first, last = _central(law, _FIRST), _central(law, _LAST)
            return _end(law.shift, first, -_CENTRAL_NOISE), _end(law.shift, last, _CENTRAL_NOISE)
        case Regime.WIDE:
            value = _wide(law)
            return _end(law.shift, -value, -_WIDE_NOISE), _end(law.shift, value, _WIDE_NOISE)
        case Regime.SKEW | Regime.FLANK:
            noise = _SKEW_NOISE if law.regime is Regime.SKEW else _FLANK_NOISE
            # A side's words are the farthest from its end at the split: there a tail may be rounded to more than 1/2.
            words = (_FIRST, law.split - 1, law.split, _LAST - 1)
            values = [_sided(law, int(word)) for word in words if _FIRST <= word < _LAST]
            return _end(law.shift, min(values), -noise), _end(law.shift, max(values), noise)
    return -inf, inf


def floor(law: Lowered, dtype: str) -> float | None:
    """CENTRAL, symmetric about 0: a floor under y with which every value is rounded to the same number as if it were
    clamped to ``bounds(dtype)`` first. One comparison then does for both clamps. None where there is no such floor.

    Below the floor are the words whose values lie in the last quarter of the interval that is rounded to the highest
    value, or past it; with y raised, they stay in that interval.
    """
    if law.regime is not Regime.CENTRAL or law.shift != 0 or law.a != -law.b:
        return None
    highest = law.bounds(dtype)[1]
    above = -round_to(-highest, FORMATS[dtype], "below")
    goal, end = (3 * highest + above) / 4, (highest + above) / 2
    x_last = nearest(_LAST * law.scale + law.offset)
    y = _bisected(lambda y: sqrt(law.origin - y) * _factor(law, y) > goal, law.origin - x_last * x_last, law.origin)
    kept = sqrt(law.origin - y) * _factor(law, y) * (1 - _CENTRAL_NOISE)
    raised = x_last * _factor(law, y) * (1 + _CENTRAL_NOISE)
    return y if kept > highest and raised < end else None


def _bisected(past: Callable[[float], bool], low: float, high: float) -> float:
    """About the fp32 number where a monotone condition turns from true to false."""
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if past(middle) else (low, middle)
    return nearest(high)


def _end(shift: float, value: float, noise: float) -> float:
    """What no sum of the shift and a value is rounded past, where ``value`` is the last one, up to the noise."""
    return nearest(shift + (value + abs(value) * noise))


def _central(law: Lowered, word: float) -> float:
    """x * P; x and y are rounded as in the kernel."""
    x = nearest(word * law.scale + law.offset)
    return x * _factor(law, nearest(law.origin - x * x))


def _factor(law: Lowered, y: float) -> float:
    """CENTRAL's P, whose variable is 2**23 times the logarithm of y's bits."""
    return _polynomial(law.coefficients, (127 + _raw_log2(y)) * 2.0**23)


def _wide(law: Lowered) -> float:
    """x * P in the right tail's last word."""
    y = law.offset * (1 - law.offset)
    t = _raw_log2(y) + 2 - WIDE_CENTRE
    return law.gain * (1 - 2 * law.offset) * _polynomial_with_y(law.coefficients, t, y, t, WIDE_Y_STEP)


def _sided(law: Lowered, word: int) -> float:
    """x * P; the tail and x are rounded as in the kernel, so that x is 0 where a bound is the mean."""
    right = word >= law.split
    distance = _LAST - 1 - word if right else word - _FIRST
    tail = nearest(nearest(distance) * law.scale + (law.offset_right if right else law.offset))
    x = nearest(law.gain * (1 - 2 * tail)) * (1 if right else -1)
    y = tail * (1 - tail)
    log = log2(y) + law.origin
    if law.regime is Regime.FLANK:
        return x * _polynomial(law.coefficients, log)
    return x * _polynomial_with_y(law.coefficients, log, y, log - SKEW_CENTRE, SKEW_Y_STEP)


def _raw_log2(y: float) -> float:
    """The kernels' logarithm: exact but for a constant and LOG_BUMP's error."""
    fraction, exponent = frexp(y)
    m = 2 * fraction
    return exponent - 1 + (m - 1) + m * _polynomial(LOG_BUMP, m)


def _polynomial_with_y(coefficients: tuple[float, ...], inner: float, y: float, t: float, y_step: int) -> float:
    """Horner's scheme, of which one step, counted from the last, multiplies by y, those before it by ``inner``, the rest by t."""
    low, high = coefficients[:y_step], coefficients[y_step:]
    return _polynomial(low, t) + t ** (y_step - 1) * y * _polynomial(high, inner)


def _polynomial(coefficients: tuple[float, ...], t: float) -> float:
    value = 0.0
    for c in reversed(coefficients):
        value = value * t + c
    return value
