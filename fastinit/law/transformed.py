"""What a parameter may be filled with: the random laws of distributions.py, a constant, or a function of a uniform.

The functions of a uniform are for a handful of numbers a layer: they are evaluated one by one, in fp64.
"""

from dataclasses import dataclass
from math import exp, expm1, log

from fastinit.law.distributions import Distribution, Uniform


@dataclass(frozen=True, slots=True)
class Constant:
    """One value everywhere."""

    value: float


@dataclass(frozen=True, slots=True)
class LogOfUniform:
    """The natural logarithm of a uniform on ``[a, b)``: a decay rate, as its parameter ``A_log`` holds it."""

    a: float
    b: float

    @property
    def source(self) -> Uniform:
        """The law of what is transformed."""
        return Uniform(self.a, self.b)

    def transform(self, value: float) -> float:
        """From a value of the source to a value of this law."""
        return log(value)


@dataclass(frozen=True, slots=True)
class InverseSoftplusOfLogUniform:
    """The number whose softplus is log-uniform on ``[low, high)``, at least ``floor``: a time step, in ``dt_bias``."""

    low: float
    high: float
    floor: float

    @property
    def source(self) -> Uniform:
        """The law of what is transformed."""
        return Uniform(0.0, 1.0)

    def transform(self, value: float) -> float:
        """From a value of the source to a value of this law."""
        step = max(exp(value * (log(self.high) - log(self.low)) + log(self.low)), self.floor)
        return step + log(-expm1(-step))


Transformed = LogOfUniform | InverseSoftplusOfLogUniform
Law = Distribution | Constant | Transformed
