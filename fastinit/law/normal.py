"""The standard normal's tail on the host, in decimal arithmetic.

Kernel constants must come out the same on every machine, and libm's erf, exp and log do not. Python's ``decimal`` is
specified to the last digit, so these functions are: 50 digits, of which the constants use nine. Call them within
``with localcontext(CONTEXT)``.
"""

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from functools import lru_cache

CONTEXT = Context(prec=50, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])
_STOP = Decimal(10) ** -48
_SOLVED = Decimal(10) ** -24
_SERIES_END = 6
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")

LN2 = CONTEXT.ln(Decimal(2))


def density(x: Decimal) -> Decimal:
    """exp(-x**2 / 2) / sqrt(2 pi)."""
    return (-x * x / 2).exp() / (2 * PI).sqrt()


def _mass_from_zero_over_density(x: Decimal) -> Decimal:
    """(Phi(x) - 1/2) / density(x) = x + x**3/3 + x**5/(3*5) + ...: every term is positive (Abramowitz-Stegun 26.2.11)."""
    term = total = x
    square, k = x * x, 1
    while term > total * _STOP:
        k += 2
        term = term * square / k
        total += term
    return total


@lru_cache(maxsize=4096)  # Newton's method asks for each point twice, and for where it starts from at every step
def mills_ratio(x: Decimal) -> Decimal:
    """P(Z > x) / density(x) for x >= 0: the series below 6, then the continued fraction (Abramowitz-Stegun 26.2.14)."""
    if x < _SERIES_END:
        return Decimal("0.5") / density(x) - _mass_from_zero_over_density(x)
    # Lentz's forward evaluation of 1/(x + 1/(x + 2/(x + 3/(x + ...)))).
    f, c, d, k = x, x, Decimal(0), 0
    while True:
        k += 1
        d = 1 / (x + k * d)
        c = x + k / c
        f *= c * d
        if abs(c * d - 1) < _STOP:
            return 1 / f


@lru_cache(maxsize=4096)
def tail(x: Decimal) -> Decimal:
    """P(Z > x) for any x, infinite ones too, with a relative error of 1e-30 or better."""
    if x.is_infinite():
        return Decimal(0) if x > 0 else Decimal(1)
    if x < 0:
        return 1 - tail(-x)
    return mills_ratio(x) * density(x)


def mass(lower: Decimal, upper: Decimal) -> Decimal:
    """P(lower < Z < upper), subtracted on the side where both tails are small."""
    if lower < 0 < upper:
        return 1 - tail(-lower) - tail(upper)
    if upper <= 0:
        lower, upper = -upper, -lower
    return tail(lower) - tail(upper)


def log_tail_drop(start: Decimal, step: Decimal) -> Decimal:
    """ln(P(Z > start) / P(Z > start + step)) for start, step >= 0, without forming either tail."""
    return step * (start + step / 2) - (mills_ratio(start + step) / mills_ratio(start)).ln()


def step_to_log_drop(start: Decimal, drop: Decimal) -> Decimal:
    """The step with ``log_tail_drop(start, step) == drop``, by Newton's method: the derivative is 1 / mills_ratio."""
    if drop == 0:
        return Decimal(0)
    smallest = mills_ratio(start) * _STOP * 10**6  # the rounding of the logarithms in log_tail_drop
    step = 2 * drop / (start + (start * start + 2 * drop).sqrt())
    for _ in range(60):
        change = (log_tail_drop(start, step) - drop) * mills_ratio(start + step)
        step -= change
        if abs(change) <= step * _SOLVED + smallest:
            return step
    raise ArithmeticError(f"no step from {start} to a drop of {drop}")


def quantile(lower_tail: Decimal) -> Decimal:
    """The z with P(Z < z) == lower_tail, from the drop of the smaller tail below one half."""
    if lower_tail > Decimal("0.5"):
        return -quantile(1 - lower_tail)
    return -step_to_log_drop(Decimal(0), -(2 * lower_tail).ln())
