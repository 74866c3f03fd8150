"""Histograms of a tensor in any float format, exact: by how often each of the 2**16 patterns of its upper 16 bits occurs.

A format's numbers are a grid, and a histogram whose bins hold now eight, now nine of them is no picture of the law. So each bin
ends where the numbers that round to one pattern end: then a bin of a rounded tensor is one of the law's own numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 48
_PATTERNS = 2**16
_TINY = 2.0**-13
_LEAST_EXPECTED = 8.0  # elements of a bin, for its deviation to be nearly normal


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bins of equal width but for the grid: each ends at the grid's boundary that is next to where it would end.

    ``places`` are indices of boundaries, of which two may be the same where the grid is coarse; ``edges`` their values.
    """

    edges: NDArray[np.float64]
    places: NDArray[np.int64]

    @classmethod
    def over(cls, dtype: torch.dtype, low: float, high: float) -> "Histogram":
        """Of a tensor of this dtype, whose numbers between two finite ones are counted."""
        boundaries = _cells(dtype)[1]
        inner = np.linspace(low, high, BINS + 1)[1:-1]
        after = np.clip(np.searchsorted(boundaries, inner), 1, len(boundaries) - 1)
        near = after - (inner - boundaries[after - 1] < boundaries[after] - inner)
        first = max(int(np.searchsorted(boundaries, low, side="right")) - 1, 0)
        last = min(int(np.searchsorted(boundaries, high, side="right")), len(boundaries) - 1)
        places = np.concatenate([[first], np.clip(near, first, last), [last]])
        edges = boundaries[places]
        return cls(np.clip(edges, low, high) if low < high else edges, places)

    def counts(self, patterns: Tensor, dtype: torch.dtype) -> NDArray[np.int64]:
        """How many elements each bin has, of what ``patterns_of`` counted."""
        order = _cells(dtype)[0]
        reached = np.concatenate([[0], np.cumsum(patterns.numpy()[order])])
        return np.diff(reached[self.places])

    def shares(self, below: Callable[[float], float]) -> NDArray[np.float64]:
        """The share of a law's numbers that each bin is to have, by the share of them below a value."""
        return np.diff([below(float(edge)) for edge in self.edges])

    def density(self, counts: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
        """What is counted, per width; a bin without any, where the grid is coarse, is as high as the one that has its numbers."""
        widths, total = np.diff(self.edges), 0.0
        found = np.zeros(len(counts))
        for k in reversed(range(len(counts))):
            if widths[k]:
                total = float(counts[k]) / float(widths[k])
            found[k] = total
        return found


def misfit(counts: NDArray[np.int64], shares: NDArray[np.float64]) -> float | None:
    """How unlike its law a histogram is, in standard deviations: chi-squared by Wilson and Hilferty's formula.

    None where there are too few elements to tell. Neighbours in which few are expected count as one bin.
    """
    total, expected, seen, pairs = int(counts.sum()), 0.0, 0, []
    for share, count in zip(shares, counts, strict=True):
        expected, seen = expected + float(share) * total, seen + int(count)
        if expected >= _LEAST_EXPECTED:
            pairs.append((expected, seen))
            expected, seen = 0.0, 0
    if len(pairs) < 2:
        return None
    pairs[-1] = (pairs[-1][0] + expected, pairs[-1][1] + seen)
    freedom = len(pairs) - 1
    whole = sum(e for e, _ in pairs)
    chi_squared = sum((n - e * total / whole) ** 2 / (e * total / whole) for e, n in pairs)
    spread = 2 / (9 * freedom)
    return float(((chi_squared / freedom) ** (1 / 3) - (1 - spread)) / spread**0.5)


def patterns_of(chunk: Tensor) -> Tensor:
    """How often each pattern of the upper 16 bits occurs in a tensor; fp64 counts as fp32."""
    if chunk.dtype == torch.float64:
        chunk = chunk.float()
    words = chunk.reshape(-1).view(torch.int16 if chunk.dtype.itemsize == 2 else torch.int32)
    upper = words.view(torch.uint16).to(torch.int32) if chunk.dtype.itemsize == 2 else (words >> 16) & 0xFFFF
    return torch.bincount(upper, minlength=_PATTERNS)


@cache
def values_of(dtype: torch.dtype) -> NDArray[np.float64]:
    """The number that each pattern is, or of an fp32 number with such upper bits the one that is next to zero."""
    words = torch.arange(_PATTERNS, dtype=torch.int32).to(torch.uint16)
    return words.view(dtype if dtype.itemsize == 2 else torch.bfloat16).double().numpy()


@cache
def _cells(dtype: torch.dtype) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The finite patterns by their number, and the boundaries between those that round to one and to the next."""
    values = values_of(dtype)
    finite = np.flatnonzero(np.isfinite(values))
    order = finite[np.lexsort((~np.signbit(values[finite]), values[finite]))]
    low, high = values[order][:-1], values[order][1:]
    # Two bytes: they are rounded to, and halfway is the end. Four: the lower bits are cut off, which is toward zero.
    between = low / 2 + high / 2 if dtype.itemsize == 2 else np.where(high > 0, high, low)
    largest = float(values[order][-1])
    return order, np.concatenate([[-2 * largest], between, [2 * largest]])


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers that a law has in a dtype of two bytes, in order, but for tiny ones, which are as one; ``boundaries`` are
    one more, and what lies between two is rounded to the number there. All that lies beyond is brought to the outermost.
    """

    values: NDArray[np.float64]
    boundaries: NDArray[np.float64]

    @classmethod
    def of(cls, dtype: torch.dtype, low: float, high: float, scale: float) -> "Grid":
        """The numbers between two, of which those are tiny that no mean of numbers of this scale would feel."""
        order, boundaries = _cells(dtype)
        values = values_of(dtype)[order]
        inside = np.flatnonzero((values >= low) & (values <= high))
        if not len(inside):
            inside = np.array([np.abs(values - low).argmin()])
        first, last = int(inside[0]), int(inside[-1])
        values, boundaries = values[first : last + 1], boundaries[first : last + 2]
        tiny = np.abs(values) < scale * _TINY
        inner = tiny[:-1] & tiny[1:]  # boundaries between two tiny numbers
        keep = np.concatenate([[True], ~inner])
        return cls(np.where(tiny, 0.0, values)[keep], boundaries[np.concatenate([[True], ~inner, [True]])])

    def weights(self, below: Callable[[float], float]) -> NDArray[np.float64]:
        """The share of the numbers that each is to have."""
        reached = [below(float(edge)) for edge in self.boundaries[1:-1]]
        return np.diff(np.concatenate([[0.0], reached, [1.0]]))


def finite_range(patterns: Tensor, dtype: torch.dtype) -> tuple[float, float] | None:
    """Of the finite patterns that occur the least and the largest number, to 16 bits; None where there is none."""
    values = values_of(dtype)[np.flatnonzero(patterns.numpy())]
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else None
