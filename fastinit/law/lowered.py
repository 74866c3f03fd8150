"""Lowered: the fp32 numbers of one law, as kernels take them, and what keeps its values inside the bounds of a dtype."""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from math import inf, isinf

from fastinit.law.formats import FORMATS, round_to

# Of the quantile function: see lowering.py.
Regime = IntEnum("Regime", "CONSTANT UNIFORM CENTRAL WIDE SKEW FLANK FAR NARROW", start=0)

# What keeps values inside: nothing, a comparison with either bound, or (CENTRAL) one of y with a floor, which does for both.
Clamp = IntFlag("Clamp", "BELOW ABOVE FLOOR")


@dataclass(frozen=True, slots=True)
class Lowered:
    """The numbers of one law; all floats hold fp32 values but ``a`` and ``b``, which are the law's own closed bounds."""

    regime: Regime
    coefficients: tuple[float, ...] = ()
    scale: float = 0.0
    offset: float = 0.0
    offset_right: float = 0.0  # SKEW, FLANK: the offset of words >= split, whose n counts from the right end
    gain: float = 0.0  # WIDE, SKEW, FLANK: std
    shift: float = 0.0
    origin: float = 0.0  # CENTRAL: what x**2 is taken from; else what makes P's variable of the raw logarithm
    split: int = 0
    a: float = -inf
    b: float = inf
    open_right: bool = False
    least: float = -inf  # no fp32 value lies below it, before the bounds, as far as that is known
    greatest: float = inf

    def bounds(self, dtype: str) -> tuple[float, float]:
        """The largest closed interval of values of this dtype inside the law's: ``(lowest, highest)``.

        ``dtype`` is a torch dtype's name, "float32" for example; fp64 holds fp32 values, so it has fp32's interval.
        Raises ``ValueError`` when the dtype has no value inside.
        """
        number_format = FORMATS[dtype]
        if self.regime is Regime.CONSTANT and self.a == self.b:
            value = round_to(self.a, number_format, "nearest")
            return value, value
        lowest = round_to(self.a, number_format, "up")
        highest = round_to(self.b, number_format, "down")
        if self.open_right and highest == self.b:
            highest = round_to(self.b, number_format, "below")
        if lowest > highest:
            brackets = "[)" if self.open_right else "[]"
            raise ValueError(
                f"a, b: expected an interval that holds a value of dtype {dtype}, "
                f"got {brackets[0]}{self.a!r}, {self.b!r}{brackets[1]}"
            )
        return lowest, highest

    def clamp(self, dtype: str) -> Clamp:
        """Which of ``bounds(dtype)`` a value may pass once it is rounded to this dtype; the others need no instruction.

        >>> from fastinit.law.distributions import TruncatedNormal
        >>> from fastinit.law.lowering import lower
        >>> lower(TruncatedNormal(0.0, 0.02, -0.06, 0.06)).clamp("float32")
        <Clamp: 0>
        """
        lowest, highest = self.bounds(dtype)
        number_format = FORMATS[dtype]
        # A value between a bound of 0 and half of the least number would be rounded to -0, which is another word.
        passes = round_to(self.least, number_format, "nearest") < lowest or self.least < lowest == 0
        below = Clamp.BELOW if passes else Clamp(0)
        above = Clamp.ABOVE if round_to(self.greatest, number_format, "nearest") > highest else Clamp(0)
        return below | above


def nearest(value: float) -> float:
    """Nearest fp32 value, as a Python float; infinite past fp32's range."""
    return round_to(value, FORMATS["float32"], "nearest")


def fp32(argument: str, value: float) -> float:
    """Nearest fp32 value. Raises ``ValueError``, with the argument's name, when it is not finite."""
    rounded = nearest(value)
    if isinf(rounded):
        raise ValueError(f"{argument}: expected a number within fp32's range, got {value!r}")
    return rounded
