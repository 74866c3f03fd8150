"""A polynomial through a smooth function at Chebyshev points, in decimal arithmetic."""

from collections.abc import Callable
from decimal import Decimal
from functools import cache

from fastinit.normal_law import PI


def interpolate(function: Callable[[Decimal], Decimal], *, half_width: Decimal, degree: int) -> list[Decimal]:
    """Coefficients, lowest power first, of the interpolant of ``function`` on [-half_width, half_width].

    >>> [round(float(c), 6) for c in interpolate(lambda t: t * t, half_width=Decimal(1), degree=2)]
    [0.0, 0.0, 1.0]
    """
    cosines = _cosines(degree + 1)
    values = [function(half_width * c) for c in cosines]
    # Newton's divided differences, then expanded into powers of t / half_width.
    for order in range(1, len(values)):
        for k in range(len(values) - 1, order - 1, -1):
            values[k] = (values[k] - values[k - 1]) / (cosines[k] - cosines[k - order])
    powers = [Decimal(0)] * len(values)
    for k in range(len(values) - 1, -1, -1):
        powers = [below - cosines[k] * here for here, below in zip(powers, [Decimal(0), *powers], strict=False)]
        powers[0] += values[k]
    return [c / half_width**k for k, c in enumerate(powers)]


@cache
def _cosines(count: int) -> list[Decimal]:
    """cos(pi (2 k + 1) / (2 count)): the zeros of the Chebyshev polynomial."""
    return [_cosine(PI * (2 * k + 1) / (2 * count)) for k in range(count)]


def _cosine(angle: Decimal) -> Decimal:
    term = total = Decimal(1)
    k = 0
    while abs(term) > Decimal("1e-48"):
        k += 2
        term = -term * angle * angle / (k * (k - 1))
        total += term
    return total
