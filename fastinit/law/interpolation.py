"""A polynomial through a smooth function at Chebyshev points, in decimal arithmetic."""

from collections.abc import Callable
from decimal import Decimal
from functools import cache

from fastinit.law.normal import PI


def interpolate(
    function: Callable[[Decimal], Decimal], *, lower: Decimal, upper: Decimal, degree: int
) -> list[Decimal]:
    """Coefficients, lowest power first, of the polynomial that meets ``function`` at Chebyshev points of [lower, upper].

    >>> [round(float(c), 6) for c in interpolate(lambda t: t * t, lower=Decimal(0), upper=Decimal(2), degree=2)]
    [0.0, 0.0, 1.0]
    """
    nodes = [(lower + upper) / 2 + (upper - lower) / 2 * cosine for cosine in _cosines(degree + 1)]
    differences = [function(node) for node in nodes]
    # Newton's divided differences, then expanded into powers of t.
    for order in range(1, len(nodes)):
        for k in range(len(nodes) - 1, order - 1, -1):
            differences[k] = (differences[k] - differences[k - 1]) / (nodes[k] - nodes[k - order])
    powers = [Decimal(0)] * len(nodes)
    for node, difference in zip(reversed(nodes), reversed(differences), strict=True):
        powers = [below - node * here for here, below in zip(powers, [Decimal(0), *powers[:-1]], strict=True)]
        powers[0] += difference
    return powers


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
