"""What the elements of a tensor are like, in one pass over it: moments, extremes and a histogram, each beside its law's."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import inf, isfinite, nextafter, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastinit.checkpoint.histogram import Grid, Histogram, finite_range, misfit, patterns_of, values_of
from fastinit.law.distributions import Distribution, Uniform
from fastinit.law.moments import Moments, Nodes, below, moments, nodes, shown_range, support
from fastinit.law.transformed import Constant, Law
from fastinit.model.tiles import Tile
from fastinit.recipe.boxes import Box
from fastinit.recipe.entries import Entry

_BLOCK = 2**15  # elements whose powers fit in a core's own memory
_ENOUGH = 100  # elements, for a mean or a std to be nearly normal
_MANY = 1000  # for what has the third power

Parts = tuple[tuple[Law, float], ...]  # laws, and the share of the elements that each has


@dataclass(frozen=True, slots=True)
class Score:
    """A statistic, its standard error under the law, and how many of these it is away from the law's."""

    value: float
    error: float | None = None
    z: float | None = None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of finite elements: ``ends`` is the share of them on the law's outermost numbers, ``fit`` how unlike the law's the
    histogram is, in sigma, ``density`` the histogram's.
    """

    mean: Score
    std: Score
    skew: Score
    ends: Score | None
    fit: float | None
    density: NDArray[np.float64]

    @property
    def scores(self) -> dict[str, float]:
        """What is nearly standard normal for elements that have their law, by name."""
        found = {"mean": self.mean.z, "std": self.std.z, "skewness": self.skew.z, "histogram": self.fit}
        return {name: z for name, z in found.items() if z is not None}


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of elements that are to look the same; two are added to be one.

    ``powers`` has the number of finite elements and the sums of their first three powers, ``outside`` how many the law does
    not have, ``at_ends`` how many are its outermost numbers.
    """

    powers: NDArray[np.float64]
    least: float
    largest: float
    not_finite: int
    outside: int
    at_ends: int
    histogram: Histogram
    counts: NDArray[np.int64]

    def __add__(self, other: "Counted") -> "Counted":
        return Counted(
            self.powers + other.powers,
            min(self.least, other.least),
            max(self.largest, other.largest),
            self.not_finite + other.not_finite,
            self.outside + other.outside,
            self.at_ends + other.at_ends,
            self.histogram,
            self.counts + other.counts,
        )

    @property
    def elements(self) -> int:
        """How many finite elements there are."""
        return int(self.powers[0])

    def statistics(self, known: "Expected | None") -> Statistics:
        """What the counts come to, beside what is expected of them."""
        n = self.elements
        mean, second, third = (self.powers[1:] / n).tolist() if n else (0.0, 0.0, 0.0)
        variance = max(second - mean**2, 0.0)
        std = sqrt(variance) if self.least < self.largest else 0.0
        skew = (third - 3 * mean * variance - mean**3) / std**3 if std else 0.0
        m = known.moments if known is not None and known.moments.std > 0 else None
        ends = None
        if known is not None and known.ends is not None and n >= _MANY:
            share = known.ends[2]
            ends = _score(self.at_ends / n, share, sqrt(share * (1 - share)), n, _MANY)
        return Statistics(
            mean=_score(mean, m.mean, m.mean_error, n, _ENOUGH) if m else Score(mean),
            std=_score(std, m.std, m.std_error, n, _ENOUGH) if m else Score(std),
            skew=_score(skew, m.skew, m.skew_error, n, _MANY) if m else Score(skew),
            ends=ends,
            fit=misfit(self.counts, known.shares) if known is not None and m is not None else None,
            density=self.histogram.density(self.counts / max(n, 1)),
        )


@dataclass(frozen=True, slots=True)
class Expected:
    """What a law, or several in fixed shares, are to look like in tensors of a dtype."""

    moments: Moments
    histogram: Histogram
    shares: NDArray[np.float64]
    bounds: tuple[float, float]
    ends: tuple[float, float, float] | None  # the least and the largest number, and the share that both are to have

    @property
    def density(self) -> NDArray[np.float64]:
        """The law's density over the histogram's bins."""
        return self.histogram.density(self.shares)


class _Held:
    """A law as a tensor of a dtype holds it: rounded, and kept within its bounds."""

    def __init__(self, law: Law, dtype: torch.dtype) -> None:
        self._law = law
        self.range = shown_range(law)
        self.bounds = low, high = _held_bounds(law, dtype)
        self._grid = None
        if dtype.itemsize == 2 and not isinstance(law, Constant):
            if isinstance(law, Uniform):
                high = nextafter(high, low)  # which it does not have
            self._grid = Grid.of(dtype, low, high, max(map(abs, self.range)))

    def below(self, value: float) -> float:
        """The share of the numbers that are less, where the value is a boundary of the grid."""
        if self._grid is None:
            return float(value > self._law.value) if isinstance(self._law, Constant) else below(self._law, value)
        if value <= self._grid.boundaries[0]:
            return 0.0
        return 1.0 if value >= self._grid.boundaries[-1] else below(self._law, value)

    def nodes(self) -> Nodes:
        """Its numbers with their weights."""
        return nodes(self._law) if self._grid is None else (self._grid.values, self._grid.weights(self.below))

    def ends(self) -> tuple[float, float, float] | None:
        """Its outermost numbers, and the share that both are to have; None where there are none that tell anything."""
        if self._grid is None or not all(map(isfinite, self.bounds)) or not isinstance(self._law, Distribution):
            return None
        values, weights = self.nodes()
        least, largest = float(values[0]), float(values[-1])
        return (least, largest, float(weights[0] + weights[-1])) if least < largest and least and largest else None


@cache
def expected(parts: Parts, dtype: torch.dtype) -> Expected:
    """What laws, and the share of the elements that each has, are to look like."""
    held = [(share, _Held(law, dtype)) for law, share in parts]

    def share_below(value: float) -> float:
        return sum(share * law.below(value) for share, law in held)

    histogram = Histogram.over(dtype, min(law.range[0] for _, law in held), max(law.range[1] for _, law in held))
    return Expected(
        moments([(share, law.nodes()) for share, law in held]),
        histogram,
        histogram.shares(share_below),
        (min(law.bounds[0] for _, law in held), max(law.bounds[1] for _, law in held)),
        held[0][1].ends() if len(held) == 1 else None,
    )


def parts_of(entry: Entry, boxes: Iterable[Box] | None = None) -> Parts | None:
    """The laws of an entry, each with its share of the elements, or of those that lie in some boxes; None if it has none."""
    shares: dict[Law, int] = {}
    looked_at = [Box.whole(entry.shape)] if boxes is None else list(boxes)
    for tile in entry.tiles:
        count = sum(_common(tile, box) for box in looked_at)
        if count:
            shares[tile.law] = shares.get(tile.law, 0) + count
    total = sum(shares.values())
    return tuple((law, count / total) for law, count in shares.items()) or None


def _common(tile: Tile, box: Box) -> int:
    met = Box(tile.offset, tile.shape).meet(box)
    return met.numel if met else 0


class Tally:
    """What is counted of a tensor, a chunk after another."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._patterns = torch.zeros(2**16, dtype=torch.int64)
        self._powers = np.zeros(4)
        self._least, self._largest = inf, -inf

    def add(self, chunk: Tensor) -> None:
        """Count the elements of a chunk."""
        patterns = patterns_of(chunk)
        self._patterns += patterns
        if self._dtype.itemsize == 2:  # all follows from the patterns
            return
        flat = chunk.reshape(-1)
        if patterns.numpy()[~np.isfinite(values_of(self._dtype))].any():
            flat = flat[torch.isfinite(flat)]
        if not len(flat):
            return
        for block in flat.split(_BLOCK):
            x = block.double()
            squares = torch.dot(x, x), x * x
            self._powers += [len(x), float(x.sum()), float(squares[0]), float(torch.dot(squares[1], x))]
        least, largest = torch.aminmax(flat)
        self._least, self._largest = min(self._least, float(least)), max(self._largest, float(largest))

    def counted(self, known: Expected | None) -> Counted:
        """All of it, by the histogram and the bounds of what is expected, or of the elements themselves."""
        powers, least, largest = self._moments()
        histogram = known.histogram if known is not None else None
        if histogram is None:
            histogram = Histogram.over(self._dtype, *(finite_range(self._patterns, self._dtype) or (0.0, 0.0)))
        return Counted(
            powers,
            least,
            largest,
            not_finite=int(self._patterns.sum()) - int(powers[0]),
            outside=self._outside(known, least, largest) if known is not None and powers[0] else 0,
            at_ends=self._at_ends(known),
            histogram=histogram,
            counts=histogram.counts(self._patterns, self._dtype),
        )

    def _moments(self) -> tuple[NDArray[np.float64], float, float]:
        """The number of finite elements, the sums of their first three powers, the least and the largest."""
        if self._dtype.itemsize != 2:
            return self._powers, self._least, self._largest
        counts, values = self._patterns.numpy(), values_of(self._dtype)
        used = np.flatnonzero(counts)
        used = used[np.isfinite(values[used])]
        n, x = counts[used].astype(np.float64), values[used]
        powers = np.array([n.sum(), n @ x, n @ x**2, n @ x**3])
        return powers, float(x.min(initial=inf)), float(x.max(initial=-inf))

    def _outside(self, known: Expected, least: float, largest: float) -> int:
        """How many elements the law does not have; of four bytes the upper two are looked at, which never tells too many."""
        low, high = known.bounds
        values = values_of(self._dtype)
        beyond = (values < low) | (values > high)
        if self._dtype.itemsize != 2:  # the number of a pattern is the one that is next to zero
            beyond = ((values < low) & (values < 0)) | ((values > high) & (values > 0))
        count = int(self._patterns.numpy()[beyond & np.isfinite(values)].sum())
        return max(count, int(least < low), int(largest > high))

    def _at_ends(self, known: Expected | None) -> int:
        if known is None or known.ends is None:
            return 0
        values = values_of(self._dtype)
        return int(self._patterns.numpy()[(values == known.ends[0]) | (values == known.ends[1])].sum())


def _score(value: float, law: float, error: float, n: int, enough: int) -> Score:
    """A statistic of n elements, and how it compares with the law's where they are enough to tell."""
    if not error or n < enough:
        return Score(value)
    error /= sqrt(n)
    return Score(value, error, (value - law) / error)


def _held_bounds(law: Law, dtype: torch.dtype) -> tuple[float, float]:
    """The least and the largest number that a law has in a tensor: those that are rounded to nearest may lie past its own."""
    low, high = support(law)
    if isinstance(law, Distribution):
        return low, high
    if dtype == torch.float64 and not isinstance(law, Constant):
        dtype = torch.float32  # which it was widened from
    rounded = torch.tensor([low, high], dtype=torch.float64).to(dtype).tolist()
    return min(low, rounded[0]) if low < high else rounded[0], max(high, rounded[1]) if low < high else rounded[1]
