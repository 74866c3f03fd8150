"""Enumerate all 2**32 words of a law: range, monotonicity, and the exact distance to the true distribution.

    python tools/prove.py                     # every configuration; rewrites bench/results/law.json and law.md
    python tools/prove.py --only "3 sigma"    # some of them, printed only
    python tools/prove.py --words 1000000     # evenly spaced words, and all near the ends; printed only

Words are taken in the order of their level u = (r + 2**31 + 1/2) / 2**32. A value x is at most |F(x) - u| + 2**-33 away, F being
the true law in fp64, evaluated from the side where its tail is small. The maximum over all words is the distance
between the two distribution functions (the Kolmogorov distance), or a bound of it where a downward step makes one.

What one rounding to fp32 costs by itself is the density times half the spacing at the value; and a bound that fp32 does
not hold costs up to a whole spacing, as the values end inside of it. The budget, 1e-6, is for what goes beyond both.
"""

import argparse
import ctypes
import json
import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import erfc, erfcx

from fastinit.backends.llvm_compile import address_of, host
from fastinit.backends.llvm_ir import I32, I64, Function
from fastinit.backends.llvm_laws import Law, elements, packed
from fastinit.backends.llvm_ops import convert, iota, loop, store
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal, Uniform
from fastinit.law.lowered import Lowered
from fastinit.law.lowering import lower

RESULTS = Path(__file__).parents[1] / "bench" / "results"
LANES, BLOCK = 64, 2**17  # of the compiled code's vectors; words that are looked at together
BUDGET = 1e-6
# By how much of the mass, beyond one fp32 spacing, a value may lie below its predecessor's; a uniform's never does.
DOWNWARD = 3e-7

LAWS: dict[str, Distribution] = {
    "2 sigma (torch's default)": TruncatedNormal(),
    "3 sigma": TruncatedNormal(0.0, 0.02, -0.06, 0.06),
    "1 sigma": TruncatedNormal(0.0, 1.0, -1.0, 1.0),
    "[-1, 2]": TruncatedNormal(0.0, 1.0, -1.0, 2.0),
    "mean 100 +- 2": TruncatedNormal(100.0, 1.0, 98.0, 102.0),
    "std 1e4": TruncatedNormal(0.0, 1e4, -2e4, 2e4),
    "4 sigma": TruncatedNormal(0.0, 0.02, -0.08, 0.08),
    "100 sigma": TruncatedNormal(0.0, 0.02, -2.0, 2.0),
    "2e10 sigma": TruncatedNormal(0.0, 1e-10, -2.0, 2.0),
    "untruncated": Normal(),
    "std 1e-30": TruncatedNormal(0.0, 1e-30, -3e-30, 3e-30),
    "[-5, 2]": TruncatedNormal(0.0, 1.0, -5.0, 2.0),
    "half-normal": TruncatedNormal(0.0, 1.0, 0.0, math.inf),
    "[0, 2]": TruncatedNormal(0.0, 1.0, 0.0, 2.0),
    "[-1, 5]": TruncatedNormal(0.0, 1.0, -1.0, 5.0),
    "[-0.4, 0.45]": TruncatedNormal(0.0, 1.0, -0.4, 0.45),
    "[1, inf)": TruncatedNormal(0.0, 1.0, 1.0, math.inf),
    "[2, 3]": TruncatedNormal(0.0, 1.0, 2.0, 3.0),
    "[3, inf)": TruncatedNormal(0.0, 1.0, 3.0, math.inf),
    "(-inf, -5]": TruncatedNormal(0.0, 1.0, -math.inf, -5.0),
    "[6, 8]": TruncatedNormal(0.0, 1.0, 6.0, 8.0),
    "[10, 12]": TruncatedNormal(0.0, 1.0, 10.0, 12.0),
    "[30, 31]": TruncatedNormal(0.0, 1.0, 30.0, 31.0),
    "mean 5 outside [-2, 2]": TruncatedNormal(5.0, 1.0, -2.0, 2.0),
    "[0, 1e-6]": TruncatedNormal(0.0, 1.0, 0.0, 1e-6),
    "[0.5, 0.500001]": TruncatedNormal(0.0, 1.0, 0.5, 0.500001),
    "uniform [0, 1)": Uniform(0.0, 1.0),
    "uniform [-0.1, 0.1)": Uniform(-0.1, 0.1),
    "uniform [0, 1e-30)": Uniform(0.0, 1e-30),
    "uniform [0, 1e-36)": Uniform(0.0, 1e-36),
    "uniform [0, 2**-126)": Uniform(0.0, 2.0**-126),
}


@dataclass
class Figures:
    """What the enumeration of one law found; distances are in the distribution function."""

    law: str
    regime: str
    words: int
    lowest: float
    highest: float
    inside: bool
    downward_steps: int
    largest_downward_step: float
    distance: float
    rounding: float
    beyond_rounding: float
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the law keeps every promise."""
        uniform_is_monotone = not self.law.startswith("uniform") or self.downward_steps == 0
        return (
            self.inside
            and self.beyond_rounding <= BUDGET
            and self.largest_downward_step <= DOWNWARD
            and uniform_is_monotone
        )


def mills_ratio(x: Any) -> Any:
    """P(Z > x) / density(x)."""
    return erfcx(x / math.sqrt(2.0)) * math.sqrt(math.pi / 2.0)


def tail_drop(start: float, step: Any) -> Any:
    """ln(P(Z > start) / P(Z > start + step)) for start >= 0."""
    if np.isscalar(step) and step == math.inf:
        return math.inf
    return step * (start + step / 2.0) - np.log(mills_ratio(start + step) / mills_ratio(start))


def cdf(x: Any, kind: int, mean: float, std: float, a: float, b: float) -> tuple[Any, Any]:
    """F(x) and the density at x. ``kind``: 0 uniform, 1 both sides of the mean, 2 right of it, 3 left of it."""
    if kind == 0:
        return (x - a) / (b - a), np.full_like(x, 1.0 / (b - a))
    alpha, beta, z = (a - mean) / std, (b - mean) / std, (x - mean) / std
    root = math.sqrt(2.0)
    if kind == 1:
        mass = 1.0 - math.erfc(-alpha / root) / 2.0 - math.erfc(beta / root) / 2.0
        edge = np.where(z < 0.0, math.erfc(-alpha / root), math.erfc(beta / root))
        from_edge = (erfc(np.abs(z) / root) - edge) / 2.0 / mass
        share = np.where(z < 0.0, from_edge, 1.0 - from_edge)
        return share, np.exp(-z * z / 2.0) / math.sqrt(2.0 * math.pi) / mass / std
    if kind == 2:
        near, step, width = alpha, (x - a) / std, (b - a) / std
    else:
        near, step, width = -beta, (b - x) / std, (b - a) / std
    inside = -np.expm1(-tail_drop(near, width))
    share = -np.expm1(-tail_drop(near, step)) / inside
    density = np.exp(-step * (near + step / 2.0)) / mills_ratio(near) / inside / std
    return (share if kind == 2 else 1.0 - share), density


def kind_of(law: Distribution) -> tuple[int, float, float, float, float]:
    """The arguments of ``cdf`` behind x."""
    if isinstance(law, Uniform):
        return 0, 0.0, 1.0, law.a, law.b
    a, b = (law.a, law.b) if isinstance(law, TruncatedNormal) else (-math.inf, math.inf)
    kind = 2 if a >= law.mean else 3 if b <= law.mean else 1
    return kind, law.mean, law.std, a, b


def compiled_values(constants: Lowered) -> Callable[[int, int, int], np.ndarray]:
    """What the CPU backend's code for a law makes of the words first, first + stride, ..., so many of them, in fp32."""
    function = Function("values", arguments=5, fused=host().fused)
    numbers, out, first, count, stride = function.arguments
    law, lanes = Law(numbers, len(constants.coefficients)), iota(function, I64.vector(LANES))
    with loop(first * 0, count, LANES) as k:
        words = convert((lanes + k) * stride + first, I32)
        store(elements(words, constants.regime, law, "float32"), out + k * 4)
    number = ctypes.c_int64
    call = ctypes.CFUNCTYPE(None, ctypes.c_char_p, *[number] * 4)(address_of(function, host()))
    packed_law = packed(constants, "float32")

    def values(first: int, count: int, stride: int) -> np.ndarray:
        whole = np.empty(-(-count // LANES) * LANES, np.float32)
        call(packed_law, whole.ctypes.data, first, count, stride)
        return whole[:count]

    return values


def scan(
    first: int, last: int, stride: int, values_of: Callable[[int, int, int], np.ndarray],
    low_edge: float, high_edge: float,  # the law's own bounds
    law: tuple[int, float, float, float, float],  # of kind_of
) -> list[float]:  # fmt: skip
    """Words first, first + stride, ... below last: the figures."""
    smallest, largest, steps, step, worst, worst_rounding, beyond = math.inf, -math.inf, 0, 0.0, 0.0, 0.0, 0.0
    before = np.float32(math.nan)
    for r in range(first, last, BLOCK * stride):
        values = values_of(r, min(BLOCK, -(-(last - r) // stride)), stride)
        # Words of one value lie together, and the farthest from the true law is the first or the last of them.
        begin = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
        end = np.append(begin[1:], len(values)) - 1
        value, previous = values[begin], np.append(before, values[begin[1:] - 1])
        before = values[-1]
        x = value.astype(np.float64)
        spacing = np.nextafter(np.abs(value), np.float32(math.inf)).astype(np.float64) - np.abs(x)
        share, density = cdf(x, *law)
        down = value < previous
        steps += int(down.sum())
        step = max(step, (density * (previous.astype(np.float64) - x - spacing))[down].max(initial=0.0))
        # At the ends the spacing inside the bound is lost too.
        cost = density * spacing / 2.0 * np.where((value == low_edge) | (value == high_edge), 2.0, 1.0)
        low, high = ((r + at * stride + 2147483648.0 + 0.5) / 4294967296.0 for at in (begin, end))
        distance = np.maximum(np.abs(share - low), np.abs(share - high)) + 2.0**-33
        smallest, largest = min(smallest, x.min()), max(largest, x.max())
        worst_rounding = max(worst_rounding, cost.max())
        worst, beyond = max(worst, distance.max()), max(beyond, (distance - cost).max())
    return [smallest, largest, steps, step, worst, worst_rounding, beyond]


def prove(name: str, law: Distribution, words: int = 2**32, threads: int = 2) -> Figures:
    """The figures of one law, over all words, or over evenly spaced ones and 2**16 at either end and in the middle."""
    begin = time.perf_counter()
    constants = lower(law)
    # Where fp32 does not hold a bound, the last value inside of it.
    low_edge, high_edge = (
        np.float32(edge if edge != bound else math.nan)
        for edge, bound in zip(constants.bounds("float32"), (constants.a, constants.b), strict=True)
    )
    arguments = (compiled_values(constants), low_edge, high_edge, kind_of(law))
    if words >= 2**32:
        part = 2**26
        ranges = [(first, first + part, 1) for first in range(-(2**31), 2**31, part)]
    else:
        ranges = [(-(2**31), 2**31, 2**32 // words)]
        ranges += [(first, first + 2**16, 1) for first in (-(2**31), -(2**15), 2**31 - 2**16)]
    with ThreadPoolExecutor(threads) as pool:
        rows = np.array(list(pool.map(lambda part: scan(*part, *arguments), ranges)))
    smallest, largest = rows[:, 0].min(), rows[:, 1].max()
    steps, (step, worst, rounding, beyond) = int(rows[:, 2].sum()), rows[:, 3:].max(axis=0)
    kind, _, _, a, b = kind_of(law)
    return Figures(
        law=name,
        regime=constants.regime.name,
        words=min(words, 2**32),
        lowest=float(smallest),
        highest=float(largest),
        inside=bool(a <= smallest and (largest < b if kind == 0 else largest <= b)),
        downward_steps=steps,
        largest_downward_step=float(step),
        distance=float(worst),
        rounding=float(rounding),
        beyond_rounding=float(beyond),
        seconds=time.perf_counter() - begin,
    )


def table(rows: list[Figures]) -> str:
    """A markdown table."""
    lines = [
        "| law | regime | distance to the true law | of it, one fp32 rounding | beyond it | largest downward step |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        step = f"{row.largest_downward_step:.1e}" if row.downward_steps else "none"
        lines.append(
            f"| {row.law} | {row.regime} | {row.distance:.1e} | {row.rounding:.1e} | {row.beyond_rounding:.1e} | {step} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=LAWS, metavar="LAW", help="; ".join(LAWS))
    parser.add_argument("--words", type=int, default=2**32)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only or LAWS:
        row = prove(name, LAWS[name], arguments.words, arguments.threads)
        rows.append(row)
        print(f"{'ok  ' if row.holds else 'FAIL'} {table([row]).splitlines()[-1]} {row.seconds:.0f} s", flush=True)
    if not arguments.only and arguments.words >= 2**32:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "law.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        (RESULTS / "law.md").write_text(table(rows))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
