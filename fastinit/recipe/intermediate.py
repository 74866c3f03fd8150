"""Laws on their way: what is computed of drawn numbers before it is a law, or part of one."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from fastinit.law.distributions import TruncatedNormal, Uniform

_NORMAL = NormalDist()
_MASS = 1e-6  # that may lie beyond the bounds of a clamp: fp32's level of a bound is told to 2**-24, or 6e-8


@dataclass(frozen=True, slots=True)
class ErrorInverse:
    """mean + std * sqrt(2) * erfinv(u), with u uniform on [low, high): a normal, truncated by the bounds of u."""

    low: float
    high: float
    mean: float = 0.0
    std: float = math.sqrt(0.5)

    def truncated(self, a: float, b: float) -> TruncatedNormal | None:
        """The truncated normal that it is, kept in [a, b]; None where that cuts off mass, which then lies at the bounds."""
        for bound, level in ((a, self.low), (b, self.high)):
            wanted = (
                0.0 if bound == -math.inf else 1.0 if bound == math.inf else _NORMAL.cdf((bound - self.mean) / self.std)
            )
            inside = wanted < (level + 1) / 2 if bound is a else wanted > (level + 1) / 2
            if not inside and abs(wanted - (level + 1) / 2) > _MASS:
                return None
        return TruncatedNormal(self.mean, self.std, max(a, self.bound(self.low)), min(b, self.bound(self.high)))

    def bound(self, level: float) -> float:
        """Where the normal is cut off."""
        share = (level + 1) / 2
        if share <= _MASS:
            return -math.inf
        return math.inf if share >= 1 - _MASS else self.mean + self.std * _NORMAL.inv_cdf(share)


@dataclass(frozen=True, slots=True)
class TimeStep:
    """exp(u), with u uniform between the logarithms of ``low`` and ``high``, at least ``floor``; then ``functions`` of it."""

    low: float
    high: float
    floor: float = 0.0
    functions: tuple[str, ...] = ()

    @property
    def logarithm(self) -> Uniform:
        """What was drawn."""
        return Uniform(math.log(self.low) if self.low else -math.inf, math.log(self.high))

    def of(self, drawn: Tensor) -> Tensor:
        """The values of such numbers, by torch's functions."""
        found = drawn.exp().clamp(min=self.floor)
        for name in self.functions:
            found = getattr(torch, name)(found)
        return found


def law_of(law: Any) -> Any:
    """The law that one on its way is, where nothing more is done to it."""
    return law.truncated(-math.inf, math.inf) if isinstance(law, ErrorInverse) else law
