"""Rounding a Python float to a narrower binary format, in a chosen direction, with integers only."""

from dataclasses import dataclass
from math import ceil, floor, frexp, inf, isinf, ldexp
from typing import Literal


@dataclass(frozen=True, slots=True)
class Format:
    """A binary floating-point format: significand bits (the hidden one included), least normal exponent, largest value."""

    precision: int
    lowest_exponent: int
    largest: float


_FP32 = Format(24, -126, (2.0 - 2.0**-23) * 2.0**127)

FORMATS = {
    "float32": _FP32,
    "float64": _FP32,  # an fp64 tensor receives fp32 values, widened
    "bfloat16": Format(8, -126, (2.0 - 2.0**-7) * 2.0**127),
    "float16": Format(11, -14, 65504.0),
}


def round_to(value: float, number_format: Format, direction: Literal["nearest", "up", "down", "below"]) -> float:
    """The format's neighbour of ``value``: nearest (ties to even), the least >=, the greatest <=, or the greatest <.

    >>> round_to(0.06, FORMATS["bfloat16"], "down")
    0.059814453125

    Only "nearest", and a direction in which the format has no finite value left, give an infinity.
    """
    if direction == "up":
        return 0.0 - round_to(-value, number_format, "down")
    largest = number_format.largest
    if isinf(value):
        return largest if direction == "below" and value > 0 else value
    if direction != "nearest" and abs(value) > largest:
        return largest if value > 0 else -inf
    exponent = number_format.lowest_exponent if value == 0 else max(frexp(value)[1] - 1, number_format.lowest_exponent)
    exponent -= number_format.precision - 1
    units = ldexp(value, -exponent)  # exact: a power of two; below 2**precision
    if direction == "nearest":
        rounded = ldexp(round(units), exponent)
        return rounded if abs(rounded) <= largest else (inf if value > 0 else -inf)
    if direction == "below" and floor(units) == units:
        if (
            units == 2 ** (number_format.precision - 1)
            and exponent + number_format.precision - 1 > number_format.lowest_exponent
        ):
            return ldexp(2 * units - 1, exponent - 1)  # below a power of two the spacing is half as wide
        units = ceil(units) - 1
    rounded = ldexp(floor(units), exponent)
    return rounded if rounded >= -largest else -inf
