"""Fit the polynomials of the quantile function and write fastinit/law/quantile_table.py.

    python tools/fit_quantile.py            # write the table
    python tools/fit_quantile.py --check    # exit 1 if the table on disk differs from a new fit

With x = 2 Phi(z) - 1 and L = log2(1 - x**2), z / x is a smooth function of L alone, for both tails (the form is Giles's,
"Approximating the erfinv function", 2012). log2 of the mantissa is a polynomial too, and the quantile is fitted to the
logarithm that the kernels have, its error included. Each fit is a weighted minimax fit by the Remez exchange; the linear
systems are solved in 40 digits with mpmath, so that every machine gets the same table.
"""

import argparse
import sys
from pathlib import Path

import mpmath as mp
import numpy as np

TABLE = Path(__file__).parents[1] / "fastinit" / "law" / "quantile_table.py"
GRID = 1500
mp.mp.dps = 40
FRACTION = 200  # bits behind the point; with 80 before it, as powers of the variable have, that is more than 40 digits


def remez(basis, target, weight):
    """Coefficients c that minimise max |weight * (target - basis @ c)| over the grid, and that maximum.

    ``basis`` is (points, n) with the Haar property, ``target`` and ``weight`` are (points,); all hold mpmath numbers.
    """
    points, n = basis.shape
    fixed_basis, fixed_target, fixed_weight = fixed(basis), fixed(target) << FRACTION, fixed(weight)
    nodes = list(np.round((1 - np.cos(np.pi * np.arange(n + 1) / n)) / 2 * (points - 1)).astype(int))
    for _ in range(1000):
        system = mp.matrix(n + 1, n + 1)
        right = mp.matrix(n + 1, 1)
        for row, node in enumerate(nodes):
            for column in range(n):
                system[row, column] = basis[node, column]
            system[row, n] = (-1) ** row / weight[node]
            right[row] = target[node]
        solution = mp.lu_solve(system, right)
        coefficients = np.array([solution[k] for k in range(n)], dtype=object)
        error = (fixed_target - fixed_basis @ fixed(coefficients)) * fixed_weight
        error = (error / (1 << 3 * FRACTION)).astype(float)
        if np.abs(error).max() <= abs(float(solution[n])) * (1 + 1e-6):
            return coefficients, np.abs(error).max()
        _exchange(nodes, error)
    raise RuntimeError("no convergence")


def fixed(numbers):
    """mpmath's numbers as integers, in units of 2**-FRACTION, whose sums and products cost a tenth of mpmath's."""
    return np.array([int(mp.ldexp(number, FRACTION)) for number in numbers.flat], dtype=object).reshape(numbers.shape)


def _exchange(nodes, error):
    """Take the point of the largest error in among the nodes, in place of the neighbour with the same sign.

    One node at a time, as the errors of the logarithm make many more extrema than there are nodes.
    """
    peak = int(np.argmax(np.abs(error)))
    after = int(np.searchsorted(nodes, peak))
    same = [k for k in (after - 1, after) if 0 <= k < len(nodes) and (error[nodes[k]] > 0) == (error[peak] > 0)]
    if same:
        nodes[same[0]] = peak
    elif after == 0:
        nodes[:] = [peak, *nodes[:-1]]
    else:
        nodes[:] = [*nodes[1:], peak]


def monomials(t, first, last):
    """(points, last - first + 1): t**first ... t**last."""
    return np.array([[value**power for power in range(first, last + 1)] for value in t], dtype=object)


def chebyshev_grid(lower, upper):
    k = np.arange(1, GRID + 1)
    return [lower + (upper - lower) * (1 - mp.cos(mp.pi * (mp.mpf(int(i)) - 0.5) / GRID)) / 2 for i in k]


def fit_log_bump(degree=5):
    """log2(m) - (m - 1) on [1, 2] but for a constant. The error is the same at both ends, as an odd number of extrema
    alternate, so the log is continuous from octave to octave."""
    m = chebyshev_grid(mp.mpf(1), mp.mpf(2))
    target = np.array([mp.log(v, 2) - (v - 1) for v in m], dtype=object)
    coefficients, error = remez(monomials(m, 0, degree), target, np.full(GRID, mp.mpf(1)))
    return list(coefficients[1:]), error


def fit_log_ratio(degree):
    """log2(1 + f) / f on [-1/4, 1/2]; the weight makes the error of the log itself even."""
    f = [v if abs(v) > 1e-8 else mp.mpf("1e-8") for v in chebyshev_grid(mp.mpf(-0.25), mp.mpf(0.5))]
    target = np.array([mp.log(1 + v, 2) / v for v in f], dtype=object)
    weight = np.array([abs(v) + mp.mpf("0.02") for v in f], dtype=object)
    coefficients, error = remez(monomials(f, 0, degree), target, weight)
    return list(coefficients), error


def fit_quantile(lowest, degree, weight_of, variable, shift_of=lambda z: 0, y_step=None, inner=None):
    """z / x over L in [lowest, 0], as a polynomial in ``variable(L)``; the error is |weight * (z - shift - z_fit)|.

    With ``y_step``, that step of Horner's scheme, counted from the last one, multiplies by s (1 - s) instead, and those before
    it by ``inner(L)``.
    """
    logs = chebyshev_grid(mp.mpf(lowest), mp.mpf(0))
    target, weight, variables = [], [], []
    for log in logs:
        y = mp.power(2, log)
        x = mp.sqrt(1 - y)
        z = mp.sqrt(2) * mp.erfinv(x) if log > -8 else _tail_quantile(y / 2 / (1 + x))
        target.append((z - shift_of(z)) / x)
        weight.append(weight_of(z, x) * x)
        variables.append(variable(log))
    basis = monomials(variables, 0, degree)
    if y_step is not None:
        for row, log in zip(basis, logs, strict=True):
            first = row[y_step - 1] * mp.power(2, log) / 4
            row[y_step:] = [first * (inner or variable)(log) ** k for k in range(degree + 1 - y_step)]
    return remez(basis, np.array(target, dtype=object), np.array(weight, dtype=object))


def raw_log2_of(bump):
    """The kernels' raw logarithm of 2**log: the exponent, the mantissa - 1, and the bump of the mantissa."""

    def variable(log):
        exponent = mp.floor(log)
        m = mp.power(2, log - exponent)
        return exponent + (m - 1) + sum(mp.mpf(float(c)) * m ** (k + 1) for k, c in enumerate(bump))

    return variable


def ratio_log2_of(ratio):
    """The kernels' other logarithm, of the mantissa in [3/4, 3/2)."""

    def variable(log):
        exponent = mp.floor(log + mp.log(mp.mpf(2) / 3, 2)) + 1
        f = mp.power(2, log - exponent) - 1
        return exponent + sum(mp.mpf(float(c)) * f ** (k + 1) for k, c in enumerate(ratio))

    return variable


def _tail_quantile(tail):
    log_tail = mp.log(tail)
    z = mp.sqrt(-2 * log_tail)
    for _ in range(30):
        value = mp.erfc(z / mp.sqrt(2)) / 2
        change = (mp.log(value) - log_tail) * value / mp.npdf(z)
        z += change
        if abs(change) < mp.mpf("1e-30"):
            return z
    raise RuntimeError(f"no quantile for a tail of {tail}")


def central_weight(end):
    """The distribution function itself, and five times that near the end of the interval that init uses most."""
    return lambda z, x: mp.npdf(z) * (1 + 4 * _near(z, end))


def central_shift(end):
    """Near that end the values are to fall short of the law's by 3e-7 of the mass: then none passes the bound."""
    return lambda z: 3e-7 * _near(z, end) / mp.npdf(z)


def _near(z, end):
    return mp.exp(-(((z - end) / mp.mpf("0.04")) ** 2))


def wide_weight(z, x):
    """The distribution function itself; beyond 2 sigma, 0.5 % of a tail counts as 3e-7."""
    return max(mp.npdf(z), 3e-7 * z / mp.mpf("0.005") if z > 2 else 0)


def flank_weight(z, x):
    """Relative to the tail beyond a bound at min(z, 2); beyond 2 sigma, 0.5 % of a tail counts as 3e-7."""
    bound = min(z, mp.mpf(2))
    return max(mp.npdf(z) / (mp.erfc(bound / mp.sqrt(2)) / 2), 3e-7 * z / mp.mpf("0.005") if z > 2 else 0)


def render():
    """The text of the table."""
    lines = [
        '"""Coefficients of the quantile function, lowest power first. Written by tools/fit_quantile.py: do not edit.',
        "",
        "L = log2(1 - x**2) with x = 2 Phi(z) - 1; the quantile polynomials give z / x. CENTRAL and WIDE take the kernels' own",
        "logarithm t, the exponent + (m - 1) + a polynomial in the mantissa m, CENTRAL in the variable t + OCTAVES, and WIDE in",
        "t - CENTRE. SKEW's t is the exponent + f times a polynomial in f = m - 1, m in [3/4, 3/2), up to the step by s (1 - s),",
        "and then t - CENTRE; FLANK takes L - CENTRE. Each comment says what the fit itself costs, before fp32 rounding. Numbers",
        'are fp32 values, but for CENTRAL, whose coefficients are rounded once they are multiplied by the std.\n"""',
        "",
    ]

    def table(name, comment, coefficients, rounded=np.float32):
        lines.append(f"# {comment}")
        lines.append(f"{name} = (")
        lines.extend(f"    {float(rounded(float(c)))!r}," for c in coefficients)
        lines.append(")\n")

    bump, error = fit_log_bump()
    bump = [np.float32(float(c)) for c in bump]
    table("LOG_BUMP", f"log2(m) - (m - 1) + constant for m in [1, 2], in m, ..., m**5: error {error:.1e}", bump)
    for name, degree in (("LOG_RATIO", 8), ("SKEW_LOG_RATIO", 5)):
        ratio, error = fit_log_ratio(degree)
        ratio = [np.float32(float(c)) for c in ratio]
        table(name, f"log2(1 + f) / f for f in [-1/4, 1/2], in powers of f: error of the log {error:.1e}", ratio)
    raw, skew_log2 = raw_log2_of(bump), ratio_log2_of(ratio)
    for end, lowest, octaves, degree in ((2, "-3.52", 5, 5), (3, "-7.58", 9, 6)):
        coefficients, error = fit_quantile(
            lowest, degree, central_weight(end), lambda log, octaves=octaves: raw(log) + octaves, central_shift(end)
        )
        lines.append(f"CENTRAL_{end}_OCTAVES = {octaves}")
        comment = f"bounds within +-{end}.01 sigma: error of the distribution function {error:.1e}"
        table(f"CENTRAL_{end}_QUANTILE", comment, coefficients, rounded=float)
    # Where the variable is small, it rounds finely: near 0, where the mass is, and so is FLANK's centre. With a step by y the
    # polynomial is the better the farther out the centre; SKEW's steps before that one take the log itself, for its digits.
    for name, comment, lowest, centre, degree, y_step, weight, log2, inner in (
        (
            "WIDE", "both tails, 2**-33 of the mass and more: error of the distribution function",
            "-31.05", -9.5, 8, 5, wide_weight, raw, None,
        ),
        (
            "SKEW", "tails of 2**-35 of the mass and more: error of the distribution function",
            -33, -16.0, 9, 6, wide_weight, skew_log2, skew_log2,
        ),
        (
            "FLANK", "any interval that reaches within 2 sigma: error relative to the mass",
            -42.5, -9.0, 16, None, flank_weight, mp.mpf, None,
        ),
    ):  # fmt: skip
        coefficients, error = fit_quantile(
            lowest,
            degree,
            weight,
            lambda log, log2=log2, centre=centre: log2(log) - centre,
            y_step=y_step,
            inner=inner,
        )
        lines.append(f"{name}_CENTRE = {centre!r}")
        if y_step is not None:
            lines.append(
                f"{name}_Y_STEP = {y_step}  # this step of Horner's scheme, counted from the last, multiplies by s (1 - s)"
            )
        table(f"{name}_QUANTILE", f"{comment} {error:.1e}", coefficients)
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the table on disk instead of writing it")
    arguments = parser.parse_args()
    text = render()
    if arguments.check:
        same = TABLE.read_text() == text
        print(f"{TABLE.name}: {'as fitted' if same else 'differs from a new fit'}")
        return 0 if same else 1
    TABLE.write_text(text)
    print(f"wrote {TABLE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
