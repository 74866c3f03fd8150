"""From a distribution to the fp32 constants of a kernel: which regime of the quantile function, and its numbers.

A word ``w`` is read as the signed integer ``r``; its level is ``u = (r + 2**31 + 1/2) / 2**32``, strictly inside (0, 1), and
its value is the law's quantile at ``u``. Eight regimes share that promise and differ in where they keep their accuracy
(``n`` is the integer distance to an end of the law, so that no tail is ever formed as 1 - tiny):

=========  =====================================================  ==============================================
CONSTANT   std = 0 or a = b                                       shift
UNIFORM    uniform, not narrower than 2**-94                      n * scale + offset
CENTRAL    most of the mass, bounds within +-3.01 sigma           x = r * scale + offset;  x * P(log2(origin - x**2)) + shift
WIDE       beyond that, symmetric or all but untruncated          s = n * scale + offset;  (1 - 2 s) * P(log2(4 s (1 - s)))
SKEW       the others with a third of the mass and more             as WIDE, with a tail of its own on either side
FLANK      the others that reach within 2 sigma                   as SKEW, with a finer logarithm and polynomial
FAR        beyond 2 sigma, and parts of a tail beyond 1 sigma     v = n * scale + offset;  shift + P(log2 v)
NARROW     a nearly even density, and the other uniforms          t = (r + 1/2) / 2**31;   shift + P(t)
=========  =====================================================  ==============================================

P has fixed coefficients (quantile_table.py), but in FAR and NARROW, where it is interpolated for the interval at hand.

In CENTRAL everything is scaled so that no instruction is spent on it: std is folded into P, and x by a power of two, so
that the bits of y = origin - x**2, a float of the smallest exponents, are a small integer: 2**23 times the logarithm,
but for a bump that depends on the mantissa. P is a polynomial in that integer.

Everything here is exact or decimal arithmetic, so the constants are the same on every machine.
"""

from dataclasses import replace
from decimal import Decimal, localcontext
from functools import lru_cache
from math import inf

from fastinit.law import quantile_table
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal, Uniform
from fastinit.law.formats import FORMATS, round_to
from fastinit.law.interpolated import FAR_FROM, HALF_STEP, LEAST_NORMAL, far_or_narrow, narrow, narrow_uniform
from fastinit.law.lowered import Lowered, Regime, fp32
from fastinit.law.normal import CONTEXT, mass, tail
from fastinit.law.reach import ends

# A tail this small is less than 1/64 of one word's share: the law is untruncated on that side.
_NO_TAIL = Decimal(2) ** -38
_FIRST, _LAST = -(2**31), 2**31  # every r is >= _FIRST, none is >= _LAST
# CENTRAL folds std into its coefficients; outside of these they would leave fp32's normal range.
_FOLDABLE = (Decimal(2) ** -24, Decimal(2) ** 60)
# Errors of the distribution function count relative to the mass inside.
_CENTRAL_MASS, _CENTRAL_3_MASS = Decimal("0.65"), Decimal("0.7")
_SKEW_MASS = Decimal("0.33")
_FAR_PART = Decimal(
    "0.95"
)  # of a tail beyond 1 sigma: with less FAR is better than FLANK, whose error counts for more there


@lru_cache(maxsize=4096)
def lower(law: Distribution) -> Lowered:
    """The kernel constants of a law.

    >>> lower(TruncatedNormal(0.0, 0.02, -0.06, 0.06)).regime
    <Regime.CENTRAL: 2>

    Raises ``ValueError`` when a constant does not fit in fp32.
    """
    with localcontext(CONTEXT):
        lowered = _lower(law)
    least, greatest = ends(lowered)
    return replace(lowered, least=least, greatest=greatest)


def _lower(law: Distribution) -> Lowered:
    if isinstance(law, Uniform):
        return _uniform(law)
    if not isinstance(law, (Normal, TruncatedNormal)):
        raise TypeError(f"law: expected one that is lowered here, got {law!r}")
    a, b = (law.a, law.b) if isinstance(law, TruncatedNormal) else (-inf, inf)
    if law.std == 0 or a == b:
        return _constant("mean", min(max(law.mean, a), b), a, b)
    return _truncated_normal(law, a, b)


def _constant(argument: str, value: float, a: float, b: float) -> Lowered:
    return Lowered(Regime.CONSTANT, shift=_fp32(argument, value), a=a, b=b)


def _uniform(law: Uniform) -> Lowered:
    if law.a == law.b:
        return _constant("a", law.a, law.a, law.b)
    width = Decimal(law.b) - Decimal(law.a)
    scale = width * Decimal(2) ** -32
    if scale < LEAST_NORMAL:  # it would lose digits, or all of them
        return narrow_uniform(law, width)
    return Lowered(
        Regime.UNIFORM,
        scale=_fp32("b", scale),
        # Not below a, where it would take an instruction to keep the values that begin there inside.
        offset=max(_fp32("a", Decimal(law.a) + width * HALF_STEP), round_to(law.a, FORMATS["float32"], "up")),
        a=law.a,
        b=law.b,
        open_right=True,
    )


def _truncated_normal(law: Normal | TruncatedNormal, a: float, b: float) -> Lowered:
    mean, std = Decimal(law.mean), Decimal(law.std)
    if std < LEAST_NORMAL:
        raise ValueError(f"std: expected 0, or at least 2**-126, the least normal fp32 number, got {law.std!r}")
    # The bounds in units of sigma, from the mean.
    lower_bound = (Decimal(a) - mean) / std
    upper_bound = (Decimal(b) - mean) / std
    below, above = tail(-lower_bound), tail(upper_bound)
    symmetric = lower_bound == -upper_bound
    inside = mass(lower_bound, upper_bound)
    # The larger of the tails beyond the interval's point nearest to the mean: what the mass is measured against.
    nearest = Decimal("0.5") if lower_bound < 0 < upper_bound else min(1 - below, 1 - above)
    if lower_bound >= FAR_FROM or upper_bound <= -FAR_FROM:
        return far_or_narrow(law, a, b, lower_bound, upper_bound)
    if inside < nearest / 2:
        return narrow(law, a, b, lower_bound, upper_bound)
    if max(lower_bound, -upper_bound) > 1 and inside < nearest * _FAR_PART:
        return far_or_narrow(law, a, b, lower_bound, upper_bound)
    reach = max(abs(lower_bound), abs(upper_bound))
    if reach <= Decimal("3.01"):
        if (
            inside >= (_CENTRAL_MASS if reach <= Decimal("2.01") else _CENTRAL_3_MASS)
            and _FOLDABLE[0] <= std <= _FOLDABLE[1]
        ):
            return _central(law, a, b, below, above, reach)
    elif symmetric or max(below, above) < _NO_TAIL:
        return _wide(law, a, b, below, inside)
    return _skew_or_flank(law, a, b, below, above, inside)


def _central(
    law: Normal | TruncatedNormal, a: float, b: float, below: Decimal, above: Decimal, reach: Decimal
) -> Lowered:
    octaves, quantile = (
        (quantile_table.CENTRAL_2_OCTAVES, quantile_table.CENTRAL_2_QUANTILE)
        if reach <= Decimal("2.01")
        else (quantile_table.CENTRAL_3_OCTAVES, quantile_table.CENTRAL_3_QUANTILE)
    )
    # y runs from the lowest normal exponents up to the origin, `octaves` above. At 3.01 sigma it is 1.335 * 2**-126, the least
    # of all: a third above the subnormal numbers, which a GPU may be set to flush.
    unit = Decimal(2) ** ((octaves - 127) // 2)
    first, last = (2 * below - 1) * unit, (1 - 2 * above) * unit  # x at the two ends
    width = (last - first) * Decimal(2) ** -32
    return Lowered(
        Regime.CENTRAL,
        coefficients=tuple(
            _fp32("std", Decimal(c) * Decimal(law.std) / unit / 2 ** (23 * k)) for k, c in enumerate(quantile)
        ),
        scale=_fp32("std", width),
        offset=_fp32("std", (first + last + width) / 2),
        shift=_fp32("mean", law.mean),
        origin=float(unit * unit),
        a=a,
        b=b,
    )


def _wide(law: Normal | TruncatedNormal, a: float, b: float, below: Decimal, inside: Decimal) -> Lowered:
    return Lowered(
        Regime.WIDE,
        coefficients=quantile_table.WIDE_QUANTILE,
        scale=_fp32("std", inside * 2 * HALF_STEP),
        offset=_fp32("std", below + inside * HALF_STEP),
        gain=_gain(law),
        shift=_fp32("mean", law.mean),
        # 127 for the exponent's bias; 2, as the kernel forms s (1 - s), a quarter of 1 - x**2
        origin=_fp32("std", 2 - 127 - Decimal(quantile_table.WIDE_CENTRE)),
        a=a,
        b=b,
    )


def _skew_or_flank(
    law: Normal | TruncatedNormal, a: float, b: float, below: Decimal, above: Decimal, inside: Decimal
) -> Lowered:
    # The words at and right of the median of the untruncated law count from the right end.
    left_words = (Decimal("0.5") - below) / inside * 2**32
    split = min(max(_FIRST + int(left_words.to_integral_value()), _FIRST), _LAST)
    regime, coefficients, centre = (
        (Regime.SKEW, quantile_table.SKEW_QUANTILE, 0.0)  # the kernel has SKEW's own, which is of later steps alone
        if inside >= _SKEW_MASS
        else (Regime.FLANK, quantile_table.FLANK_QUANTILE, quantile_table.FLANK_CENTRE)
    )
    return Lowered(
        regime,
        coefficients=coefficients,
        scale=_fp32("std", inside * 2 * HALF_STEP),
        offset=_fp32("std", below + inside * HALF_STEP),
        offset_right=_fp32("std", above + inside * HALF_STEP),
        gain=_gain(law),
        shift=_fp32("mean", law.mean),
        origin=_fp32("std", 2 - centre),  # 2, as in _wide
        split=split,
        a=a,
        b=b,
    )


def _gain(law: Normal | TruncatedNormal) -> float:
    """The std. Raises ``ValueError`` where fp32 does not hold -2 times as much, which the kernels multiply by."""
    gain = _fp32("std", law.std)
    if gain >= 2.0**127:
        raise ValueError(f"std: expected less than 2**127, as twice as much is to be an fp32 number, got {law.std!r}")
    return gain


def _fp32(argument: str, value: float | Decimal) -> float:
    return fp32(argument, float(value))
