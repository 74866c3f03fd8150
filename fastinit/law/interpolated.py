"""The regimes whose polynomial is interpolated for the interval at hand: FAR, and NARROW, which serves the uniforms too that
are so narrow that their step from word to word is no normal fp32 number. See lowering.py.
"""

from collections.abc import Iterable
from decimal import Decimal
from math import ulp

from fastinit.law import normal
from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.interpolation import interpolate
from fastinit.law.lowered import Lowered, Regime, fp32, nearest
from fastinit.law.normal import mass, tail

HALF_STEP = Decimal(2) ** -33  # half of one word's share of the mass
LEAST_NORMAL = Decimal(2) ** -126
FAR_FROM = 2  # sigma
_FIRST, _LAST = -(2**31), 2**31  # every r is >= _FIRST, none is >= _LAST
_FAR_DEGREE, _NARROW_DEGREE = 18, 10
# Near the end that holds the mass: there the polynomial's variable is small, and rounds finely.
_FAR_CENTRE = Decimal(-4)
_EVEN = tuple((Decimal(k) / 8, Decimal(1)) for k in range(-8, 9))  # the places of a law whose density is nearly even
_MOST = Decimal("5e-7")  # of the mass, that may be lost with the digits for which fp32's range is too small

_TOO_NARROW = (
    "std: expected {} that is wide enough for fp32, whose least normal number is 2**-126, got one of the width {:.3g}, most of "
    "whose digits are lost; fill it scaled up by a power of two, and divide the tensor"
)


def narrow_uniform(law: Uniform, width: Decimal) -> Lowered:
    """A uniform whose step from word to word is below fp32's normal range."""
    if width < LEAST_NORMAL:
        raise ValueError(
            f"b: expected a, or more by at least 2**-126, the least normal fp32 number, got a={law.a!r} and b={law.b!r}"
        )
    shift, remainder = _split("a", (Decimal(law.a) + Decimal(law.b)) / 2)
    return Lowered(
        Regime.NARROW,
        coefficients=(_fp32("a", remainder), _fp32("b", width / 2)),
        shift=shift,
        a=law.a,
        b=law.b,
        open_right=True,
    )


def far_or_narrow(
    law: Normal | TruncatedNormal, a: float, b: float, lower_bound: Decimal, upper_bound: Decimal
) -> Lowered:
    """An interval beyond 2 sigma, or a part of a tail; NARROW where its density does not fall by half."""
    mirrored = upper_bound < 0
    near, far = (-upper_bound, -lower_bound) if mirrored else (lower_bound, upper_bound)
    drop = normal.log_tail_drop(near, far - near) if not far.is_infinite() else Decimal("Infinity")
    rest = (-drop).exp()  # the tail beyond the far bound, in units of the one beyond the near bound
    if rest > Decimal("0.5"):
        return narrow(law, a, b, lower_bound, upper_bound)
    log_of_last = max((rest + (1 - rest) * HALF_STEP).ln() / normal.LN2, Decimal(-33))
    centre = Decimal(_fp32("std", max(log_of_last / 2, _FAR_CENTRE)))
    unit = Decimal(law.std) * (-1 if mirrored else 1)
    shift, remainder = _split("a", Decimal(b if mirrored else a))

    def value(offset: Decimal) -> Decimal:
        return remainder + unit * normal.step_to_log_drop(near, -(centre + offset) * normal.LN2)

    first, last = log_of_last - centre, -centre
    grid = [first + (last - first) * k / 32 for k in range(33)]
    return Lowered(
        Regime.FAR,
        coefficients=_held(
            "a far tail",
            interpolate(value, lower=first, upper=last, degree=_FAR_DEGREE),
            shift,
            Decimal(law.std) / (near + 1 / near),
            # A word far out weighs little, but its value is not to be off by more than a width: the last two are that far apart.
            [(t, max(Decimal(2) ** (t + centre), _MOST)) for t in grid],
        ),
        scale=_fp32("std", (1 - rest) * 2 * HALF_STEP),
        offset=_fp32("std", rest + (1 - rest) * HALF_STEP),
        shift=shift,
        origin=_fp32("std", -centre),
        split=_LAST if mirrored else _FIRST,
        a=a,
        b=b,
    )


def narrow(law: Normal | TruncatedNormal, a: float, b: float, lower_bound: Decimal, upper_bound: Decimal) -> Lowered:
    """An interval over which the density changes little."""
    mirrored = abs(upper_bound) < abs(lower_bound)
    near, far = (-upper_bound, -lower_bound) if mirrored else (lower_bound, upper_bound)
    unit = Decimal(law.std) * (-1 if mirrored else 1)
    width = Decimal(law.std) * (far - near)
    if width < LEAST_NORMAL:
        raise ValueError(_TOO_NARROW.format("a narrow interval", float(width)))
    if (far - near) * (1 + abs(near) + abs(far)) < Decimal("1e-12"):  # the density is even to 12 digits

        def step(share: Decimal) -> Decimal:
            return share * (far - near)

    elif near >= FAR_FROM:
        inside = 1 - (-normal.log_tail_drop(near, far - near)).exp()

        def step(share: Decimal) -> Decimal:
            return normal.step_to_log_drop(near, -(1 - share * inside).ln())

    else:
        below, inside = tail(-near), mass(near, far)

        def step(share: Decimal) -> Decimal:
            return normal.quantile(below + share * inside) - near

    middle = step(Decimal("0.5"))

    def value_over_t(t: Decimal) -> Decimal:
        share = (1 + (-t if mirrored else t)) / 2
        return unit * (step(share) - middle) / t

    shift, remainder = _split("mean", Decimal(b if mirrored else a) + unit * middle)
    return Lowered(
        Regime.NARROW,
        coefficients=_held(
            "a narrow interval",
            (remainder, *interpolate(value_over_t, lower=Decimal(-1), upper=Decimal(1), degree=_NARROW_DEGREE - 1)),
            shift,
            width,
            _EVEN,
        ),
        shift=shift,
        a=a,
        b=b,
    )


def _held(
    law: str, coefficients: Iterable[Decimal], shift: float, width: Decimal, places: Iterable[tuple[Decimal, Decimal]]
) -> tuple[float, ...]:
    """A polynomial's coefficients in fp32.

    Raises ``ValueError`` where some are so small that fp32 holds too few of their digits: when at one of the ``places``, which
    are values of the variable and the density there in units of the highest, more than 1e-7 of the mass is lost with them, and
    what fp32 makes of the polynomial is wrong by more than ``_MOST``: of the mass, or of the spacing of the values where that
    is wider than the law. ``width`` is that of a law which has the highest density everywhere.
    """
    exact = tuple(coefficients)
    held = tuple(_fp32("std", c) for c in exact)
    lost = tuple(c - Decimal(h) if abs(c) < LEAST_NORMAL else Decimal(0) for c, h in zip(exact, held, strict=True))
    for variable, density in places if any(lost) else ():
        if abs(_sum(lost, variable)) * density <= width * Decimal("1e-7"):
            continue
        t = nearest(float(variable))
        value = _horner(held, t)
        spacing = Decimal(max(ulp(shift + value) * 2.0**29, 2.0**-149))  # fp32 has 29 bits less than fp64
        if abs(Decimal(value) - _sum(exact, Decimal(t))) * density > max(width, spacing) * _MOST:
            raise ValueError(_TOO_NARROW.format(law, float(width)))
    return held


def _sum(coefficients: tuple[Decimal, ...], t: Decimal) -> Decimal:
    return sum((c * t**k for k, c in enumerate(coefficients)), Decimal(0))


def _horner(coefficients: tuple[float, ...], t: float) -> float:
    """The polynomial's value as fp32 makes it: a product of two fp32 numbers is exact in fp64."""
    value = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        value = nearest(value * t + coefficient)
    return value


def _split(argument: str, value: Decimal) -> tuple[float, Decimal]:
    """The nearest fp32 value, and what is left of the value, which a polynomial's constant term takes."""
    nearest = _fp32(argument, value)
    return nearest, value - Decimal(nearest)


def _fp32(argument: str, value: float | Decimal) -> float:
    return fp32(argument, float(value))
