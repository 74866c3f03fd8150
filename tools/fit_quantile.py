"""Fit the polynomials of the quantile function and write fastinit/quantile_table.py.

    python tools/fit_quantile.py            # write the table
    python tools/fit_quantile.py --check    # exit 1 if the table on disk differs from a new fit

With x = 2 Phi(z) - 1 and L = log2(1 - x**2), z / x is a smooth function of L alone, for both tails (the form is Giles's,
"Approximating the erfinv function", 2012). log2 of the mantissa is a polynomial too. Each fit is a weighted minimax fit
by the Remez exchange; the linear systems are solved in 40 digits with mpmath, so that every machine gets the same table.
"""

import argparse
import sys
from pathlib import Path

import mpmath as mp
import numpy as np

TABLE = Path(__file__).parents[1] / "fastinit" / "quantile_table.py"
GRID = 1500
mp.mp.dps = 40


def remez(basis, target, weight):
    """Coefficients c that minimise max |weight * (target - basis @ c)| over the grid, and that maximum.

    ``basis`` is (points, n) with the Haar property, ``target`` and ``weight`` are (points,); all hold mpmath numbers.
    """
    points, n = basis.shape
    nodes = np.round((1 - np.cos(np.pi * np.arange(n + 1) / n)) / 2 * (points - 1)).astype(int)
    for _ in range(60):
        system = mp.matrix(n + 1, n + 1)
        right = mp.matrix(n + 1, 1)
        for row, node in enumerate(nodes):
            for column in range(n):
                system[row, column] = basis[node, column]
            system[row, n] = (-1) ** row / weight[node]
            right[row] = target[node]
        solution = mp.lu_solve(system, right)
        coefficients = np.array([solution[k] for k in range(n)], dtype=object)
        error = ((target - basis @ coefficients) * weight).astype(float)
        new = _extrema(error, n + 1)
        if np.array_equal(new, nodes) or np.abs(error).max() <= abs(float(solution[n])) * (1 + 1e-6):
            break
        nodes = new
    return coefficients, np.abs(error).max()


def _extrema(error, count):
    """Grid positions of ``count`` alternating extrema of the error, the largest ones among neighbours."""
    changes = np.flatnonzero(np.sign(error[1:]) != np.sign(error[:-1])) + 1
    runs = np.split(np.arange(len(error)), changes)
    peaks = [run[np.argmax(np.abs(error[run]))] for run in runs]
    while len(peaks) > count:
        if len(peaks) == count + 1:
            peaks.pop(0 if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else -1)
            continue
        sizes = np.abs(error[peaks])
        weakest = int(np.argmin(np.maximum(sizes[1:], sizes[:-1])))
        del peaks[weakest : weakest + 2]
    if len(peaks) < count:
        raise RuntimeError(f"the error has {len(peaks)} alternations, {count} are needed")
    return np.array(peaks)


def monomials(t, first, last):
    """(points, last - first + 1): t**first ... t**last."""
    return np.array([[value**power for power in range(first, last + 1)] for value in t], dtype=object)


def chebyshev_grid(lower, upper):
    k = np.arange(1, GRID + 1)
    return [lower + (upper - lower) * (1 - mp.cos(mp.pi * (mp.mpf(int(i)) - 0.5) / GRID)) / 2 for i in k]


def fit_log_bump(degree=6):
    """log2(m) - (m - 1) on [1, 2], zero at both ends, so that the log is continuous from octave to octave."""
    m = chebyshev_grid(mp.mpf(1), mp.mpf(2))
    target = np.array([mp.log(v, 2) - (v - 1) for v in m], dtype=object)
    ends = np.array([(v - 1) * (2 - v) for v in m], dtype=object)
    inner, error = remez(monomials(m, 0, degree - 2) * ends[:, None], target, np.full(GRID, mp.mpf(1)))
    coefficients = [mp.mpf(0)] * (degree + 1)  # times -m**2 + 3 m - 2
    for k, c in enumerate(inner):
        coefficients[k] -= 2 * c
        coefficients[k + 1] += 3 * c
        coefficients[k + 2] -= c
    return coefficients, error


def fit_log_ratio(degree=8):
    """log2(1 + f) / f on [-1/4, 1/2]; the weight makes the error of the log itself even."""
    f = [v if abs(v) > 1e-8 else mp.mpf("1e-8") for v in chebyshev_grid(mp.mpf(-0.25), mp.mpf(0.5))]
    target = np.array([mp.log(1 + v, 2) / v for v in f], dtype=object)
    weight = np.array([abs(v) + mp.mpf("0.02") for v in f], dtype=object)
    coefficients, error = remez(monomials(f, 0, degree), target, weight)
    return list(coefficients), error


def fit_quantile(lowest, centre, degree, weight_of):
    """z / x over L in [lowest, 0], in the variable L - centre; the error is |weight * (z - z_fit)|."""
    logs = chebyshev_grid(mp.mpf(lowest), mp.mpf(0))
    target, weight = [], []
    for log in logs:
        y = mp.power(2, log)
        x = mp.sqrt(1 - y)
        z = mp.sqrt(2) * mp.erfinv(x) if log > -8 else _tail_quantile(y / 2 / (1 + x))
        target.append(z / x)
        weight.append(weight_of(z, x) * x)
    basis = monomials([log - centre for log in logs], 0, degree)
    coefficients, error = remez(basis, np.array(target, dtype=object), np.array(weight, dtype=object))
    return list(coefficients), error


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


def central_weight(z, x):
    """Relative to the mass inside +-z, so that narrow intervals are as good as wide ones."""
    return mp.npdf(z) / x


def wide_weight(z, x):
    """The distribution function itself; beyond 2 sigma, 0.5 % of a tail counts as 3e-7."""
    return max(mp.npdf(z), 3e-7 * z / mp.mpf("0.005") if z > 2 else 0)


def skew_weight(z, x):
    """Relative to the tail beyond a bound at min(z, 2); beyond 2 sigma, 0.5 % of a tail counts as 3e-7."""
    bound = min(z, mp.mpf(2))
    return max(mp.npdf(z) / (mp.erfc(bound / mp.sqrt(2)) / 2), 3e-7 * z / mp.mpf("0.005") if z > 2 else 0)


def render():
    """The text of the table."""
    lines = [
        '"""Coefficients of the quantile function, lowest power first. Written by tools/fit_quantile.py: do not edit.',
        "",
        "Every number is an fp32 value. L = log2(1 - x**2) with x = 2 Phi(z) - 1; the quantile polynomials give z / x in",
        'the variable L - CENTRE, and each comment says what the fit itself costs, before fp32 rounding.\n"""',
        "",
    ]

    def table(name, comment, coefficients):
        lines.append(f"# {comment}")
        lines.append(f"{name} = (")
        lines.extend(f"    {float(np.float32(float(c)))!r}," for c in coefficients)
        lines.append(")\n")

    bump, error = fit_log_bump()
    table("LOG_BUMP", f"log2(m) - (m - 1) for m in [1, 2], in powers of m: error {error:.1e}", bump)
    ratio, error = fit_log_ratio()
    table("LOG_RATIO", f"log2(1 + f) / f for f in [-1/4, 1/2], in powers of f: error of the log {error:.1e}", ratio)
    # Each centre is nearer to 0, where the mass is, than to the tail: there the variable is small, and rounds finely.
    for name, comment, lowest, centre, degree, weight in (
        (
            "CENTRAL",
            "bounds within +-3.01 sigma: relative error of the distribution function",
            -7.5625,
            -2.5,
            6,
            central_weight,
        ),
        (
            "WIDE",
            "both tails, 2**-33 of the mass and more: error of the distribution function",
            -32.0,
            -7.0,
            12,
            wide_weight,
        ),
        ("SKEW", "any interval that reaches within 2 sigma: error relative to the mass", -42.5, -9.0, 16, skew_weight),
    ):
        coefficients, error = fit_quantile(lowest, centre, degree, weight)
        lines.append(f"{name}_CENTRE = {centre!r}")
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
