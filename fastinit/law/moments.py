"""What numbers of a law are like, in fp64: how many lie below a value, and mean, std and skewness with their standard errors.

These are for looking at a filled tensor; what a fill itself is made from is in lowering.py, to the last digit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, erfc, exp, inf, log, log1p, sqrt

import numpy as np
from numpy.typing import NDArray

from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.transformed import Constant, InverseSoftplusOfLogUniform, Law, LogOfUniform

_PANELS, _NODES = 64, 8  # of Gauss-Legendre's rule; more of either changes no digit that is shown
_FAR = 30  # sigma; beyond, erfc is close to the end of fp64's range
_NEGLIGIBLE = 80  # twice the exponent at which what lies behind has no weight in fp64
_ZERO = 1e-9  # of a std: a symmetric law's mean, as sums have it
_WIDE = 4.5  # sigma; how far a histogram of a law without bounds reaches

Nodes = tuple[NDArray[np.float64], NDArray[np.float64]]  # values, and weights whose sum is one


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean, std and skewness of a law, or of elements of which each part has its own; ``*_error`` is the standard error of
    each for one element, to be divided by the root of their number.

    >>> found = moments([(1.0, nodes(Uniform(-1.0, 1.0)))])
    >>> print(f"std {found.std:.5f}, and the mean of 100 elements is off by about {found.mean_error / 10:.3f}")
    std 0.57735, and the mean of 100 elements is off by about 0.058
    """

    mean: float
    std: float
    skew: float
    mean_error: float
    std_error: float
    skew_error: float


def moments(rules: Sequence[tuple[float, Nodes]]) -> Moments:
    """The moments of elements of several laws, each with its share of them and its nodes.

    The errors are those of the estimators' influence functions (Huber, Robust Statistics, 1.5), exact for many elements; a
    normal's are std, std / sqrt(2) and sqrt(6).
    """

    def mean_of(values: Sequence[NDArray[np.float64]]) -> float:
        return float(sum(share * weights @ v for (share, (_, weights)), v in zip(rules, values, strict=True)))

    def error_of(values: Sequence[NDArray[np.float64]]) -> float:
        within = (
            share * max(float(weights @ v**2 - (weights @ v) ** 2), 0.0)
            for (share, (_, weights)), v in zip(rules, values, strict=True)
        )
        return sqrt(sum(within))

    mean = mean_of([x for _, (x, _) in rules])
    away = [x - mean for _, (x, _) in rules]
    std = sqrt(mean_of([d**2 for d in away]))
    if abs(mean) < std * _ZERO:
        mean = 0.0
    if std <= abs(mean) * 1e-14:  # all of it one value
        return Moments(mean, 0.0, 0.0, 0.0, 0.0, 0.0)
    z = [d / std for d in away]
    skew = mean_of([t**3 for t in z])
    if abs(skew) < _ZERO:
        skew = 0.0
    return Moments(
        mean,
        std,
        skew,
        error_of(away),
        error_of([std * (t**2 - 1) / 2 for t in z]),
        error_of([t**3 - 3 * t - skew - 1.5 * skew * (t**2 - 1) for t in z]),
    )


def below(law: Law, value: float) -> float:
    """The share of a law's numbers that are less than a value.

    >>> below(Normal(0.0, 0.02), 0.0), below(Uniform(0.0, 4.0), 1.0)
    (0.5, 0.25)
    """
    low, high = support(law)
    if value <= low:
        return 0.0
    if value > high:
        return 1.0
    match law:
        case Normal(mean, std):
            return erfc((mean - value) / std / sqrt(2)) / 2
        case TruncatedNormal(mean, std, a, b):
            a, b, x = (a - mean) / std, (b - mean) / std, (value - mean) / std
            return _mass(a, x, a, b) / _mass(a, b, a, b)
        case Uniform(a, b):
            return (value - a) / (b - a)
        case LogOfUniform(a, b):
            return (exp(value) - a) / (b - a)
        case InverseSoftplusOfLogUniform(least, most, _):
            step = value + log1p(exp(-value)) if value > 0 else log1p(exp(value))
            return min(max(log(step / least) / log(most / least), 0.0), 1.0)
    return 0.0


def support(law: Law) -> tuple[float, float]:
    """The least interval that holds all of a law's numbers; it may be infinite.

    >>> support(TruncatedNormal(0.0, 0.02, -0.06, 0.06)), support(Constant(1.0))
    ((-0.06, 0.06), (1.0, 1.0))
    """
    match law:
        case Constant(value):
            return value, value
        case Normal(mean, std):
            return (-inf, inf) if std else (mean, mean)
        case TruncatedNormal(mean, std, a, b):
            return (a, b) if std else (min(max(mean, a), b),) * 2
        case LogOfUniform(a, b):
            return log(a) if a else -inf, log(b)
        case InverseSoftplusOfLogUniform():
            return law.transform(0.0), law.transform(1.0)
    return law.a, law.b


def shown_range(law: Law) -> tuple[float, float]:
    """The interval that holds all but a few of a law's numbers: what a histogram is drawn over.

    >>> shown_range(Normal(0.0, 2.0))
    (-9.0, 9.0)
    """
    low, high = support(law)
    if isinstance(law, LogOfUniform):
        return max(low, high - _WIDE), high
    if isinstance(law, Normal | TruncatedNormal) and law.std:
        densest = min(max(law.mean, low), high)
        away = abs(densest - law.mean) / law.std
        reach = law.std * (sqrt(away**2 + _WIDE**2) - away)
        return max(low, densest - reach), min(high, densest + reach)
    return low, high


def nodes(law: Law) -> Nodes:
    """Values of a law with weights: a mean over them is one over the law, to a dozen digits."""
    low, high = support(law)
    if low == high:
        return np.array([low]), np.array([1.0])
    match law:
        case Normal(mean, std) | TruncatedNormal(mean, std):
            x = _grid(*_weighty((low - mean) / std, (high - mean) / std))
            nearest = np.abs(x[0]).min()
            weights = x[1] * np.exp(-(x[0] ** 2 - nearest**2) / 2)
            return mean + std * x[0], weights / weights.sum()
        case LogOfUniform():
            y, weights = _grid(max(low, high - _NEGLIGIBLE / 2), high)
            weights = weights * np.exp(y - high)
            return y, weights / weights.sum()
        case InverseSoftplusOfLogUniform():
            levels, weights = _grid(0.0, 1.0)
            return np.array([law.transform(float(level)) for level in levels]), weights
    values, weights = _grid(low, high)
    return values, weights / weights.sum()


def _weighty(a: float, b: float) -> tuple[float, float]:
    """The part of an interval, in sigma, outside of which a normal has no weight in comparison."""
    if a > 0:
        return a, min(b, sqrt(a * a + _NEGLIGIBLE))
    if b < 0:
        return max(a, -sqrt(b * b + _NEGLIGIBLE)), b
    return max(a, -sqrt(_NEGLIGIBLE)), min(b, sqrt(_NEGLIGIBLE))


def _grid(low: float, high: float) -> Nodes:
    """Nodes and weights of an integral over an interval: Gauss-Legendre's on each of its panels."""
    x, w = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(low, high, _PANELS + 1)
    half = np.diff(edges)[:, None] / 2
    return ((edges[:-1, None] + half) + half * x).ravel(), (half * w).ravel()


def _mass(low: float, high: float, a: float, b: float) -> float:
    """What a normal has in (low, high), in units that depend on the interval [a, b] alone, which holds it."""
    if b < 0:
        return _mass(-high, -low, -b, -a)
    if a > _FAR:
        return _far_tail(low, a) - _far_tail(high, a)
    if low > 0:
        return (erfc(low / sqrt(2)) - erfc(high / sqrt(2))) / 2
    return (erf(high / sqrt(2)) - erf(low / sqrt(2))) / 2


def _far_tail(x: float, a: float) -> float:
    """P(Z > x) in units of the density at a: the first terms of its asymptotic series (Abramowitz-Stegun 26.2.12)."""
    if x == inf:
        return 0.0
    return exp((a - x) * (a + x) / 2) / x * (1 - 1 / x**2 + 3 / x**4)
