"""What a report says of a checkpoint's tensors, as its page takes it: by role, by law, and in columns."""

import base64
from dataclasses import dataclass
from math import erfc, expm1, isfinite, log1p, prod, sqrt
from typing import Any

import numpy as np

from fastinit.checkpoint.histogram import BINS
from fastinit.checkpoint.statistics import Counted, Score, Statistics
from fastinit.checkpoint.survey import Seen
from fastinit.model.report import shape_text
from fastinit.model.roles import role_of
from fastinit.shard.storage import dtype_name

_DIGITS = 5  # that are shown, at most
_RARE = 0.01  # of all reports of right checkpoints, that have a z-score beyond the limit
_WIDE, _SLOTS = 5.0, 40  # of the histogram of z-scores


@dataclass(slots=True)
class _Group:
    """The tensors of a role that have one law in one dtype."""

    role: int
    first: Seen
    counted: Counted
    tensors: int = 0


@dataclass(slots=True)
class _Role:
    number: int
    name: str
    tensors: int = 0
    elements: int = 0
    laws: int = 0
    far: float | None = None


class Description:
    """The data of the page, made from tensor after tensor."""

    def __init__(self) -> None:
        self.elements = self.size = self.not_finite = self.outside = 0
        self.scores: list[float] = []
        self.farthest = (0.0, "", "")  # z, of what, of which tensor
        self.dtypes: dict[str, None] = {}
        self._roles: dict[str, _Role] = {}
        self._groups: dict[tuple[Any, ...], tuple[int, _Group]] = {}
        self._columns: dict[str, list[Any]] = {}
        self._seen = bytearray()

    @property
    def limit(self) -> float:
        """The z-score that one report in a hundred has a farther one than, where all tensors have their laws."""
        low, high = 0.0, 40.0
        while high - low > 1e-3:
            middle = (low + high) / 2
            low, high = (middle, high) if chance(middle, len(self.scores)) > _RARE else (low, middle)
        return high

    def add(self, seen: Seen) -> None:
        """Take in what was seen of a tensor."""
        role_name = role_of(seen.name)
        role = self._roles.setdefault(role_name, _Role(len(self._roles), role_name))
        statistics = seen.counted.statistics(seen.known)
        far = max(statistics.scores.values(), key=abs, default=None)
        law = self._into_group(seen, role)
        role.tensors += 1
        role.elements += prod(seen.shape)
        role.far = max((z for z in (role.far, far) if z is not None), key=abs, default=None)
        for what, z in statistics.scores.items():
            self.scores.append(z)
            self.farthest = max(self.farthest, (z, what, seen.name), key=lambda found: abs(found[0]))
        self.elements += prod(seen.shape)
        self.size += prod(seen.shape) * seen.dtype.itemsize
        self.dtypes[dtype_name(seen.dtype)] = None
        self.not_finite += seen.counted.not_finite
        self.outside += seen.counted.outside
        self._into_columns(seen, statistics, far, law, role.number)

    def data(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "bins": BINS,
            "limit": _number(self.limit),
            "elements": self.elements,
            "size": self.size,
            "dtypes": ", ".join(self.dtypes),
            "scores": self._scores(),
            "roles": [
                {"name": r.name, "tensors": r.tensors, "elements": r.elements, "laws": r.laws, "far": _number(r.far)}
                for r in self._roles.values()
            ],
            "laws": [_law(group) for _, group in self._groups.values()],
            "tensors": self._columns,
            "seen": base64.b64encode(bytes(self._seen)).decode(),
        }

    def _into_group(self, seen: Seen, role: _Role) -> int:
        key = (role.name, seen.words, seen.dtype, seen.parts)
        if key not in self._groups:
            self._groups[key] = len(self._groups), _Group(role.number, seen, seen.counted)
            role.laws += 1
        else:
            group = self._groups[key][1]
            group.counted += seen.counted
        number, group = self._groups[key]
        group.tensors += 1
        return number

    def _into_columns(self, seen: Seen, statistics: Statistics, far: float | None, law: int, role: int) -> None:
        counted, density = seen.counted, statistics.density
        top = float(density.max(initial=0.0))
        self._seen += np.round(density * (255 / top if top else 0)).astype(np.uint8).tobytes()
        row = {
            "name": seen.name,
            "law": law,
            "role": role,
            "shape": shape_text(seen.shape),
            "dtype": dtype_name(seen.dtype),
            "elements": prod(seen.shape),
            **_scored("mean", statistics.mean),
            **_scored("std", statistics.std),
            **_scored("skew", statistics.skew),
            **_scored("ends", statistics.ends),
            "fit": _number(statistics.fit),
            "far": _number(far),
            "least": _number(counted.least),
            "largest": _number(counted.largest),
            "notFinite": counted.not_finite,
            "outside": counted.outside,
            "top": _number(top),
            **({"digest": seen.digest} if seen.digest else {}),
        }
        for key, value in row.items():
            self._columns.setdefault(key, []).append(value)

    def _scores(self) -> dict[str, Any] | None:
        if len(self.scores) < _SLOTS:
            return None
        counts, _ = np.histogram(np.clip(self.scores, -_WIDE, _WIDE), bins=_SLOTS, range=(-_WIDE, _WIDE))
        return {"seen": counts.tolist(), "low": -_WIDE, "high": _WIDE, "total": len(self.scores)}


def chance(z: float, scores: int) -> float:
    """How likely it is that the farthest of so many standard normal numbers is as far as z.

    >>> print(f"{chance(3.0, 1):.4f} {chance(3.0, 300):.2f}")
    0.0027 0.56
    """
    alone = erfc(abs(z) / sqrt(2))
    return -expm1(scores * log1p(-alone)) if alone < 1 else 1.0


def _law(group: _Group) -> dict[str, Any]:
    counted, known = group.counted, group.first.known
    statistics = counted.statistics(known)
    edges = counted.histogram.edges
    found = {
        "role": group.role,
        "words": group.first.words,
        "dtype": dtype_name(group.first.dtype),
        "tensors": group.tensors,
        "elements": counted.elements,
        "seen": _numbers(statistics.density) if known is not None or group.tensors == 1 else None,
        "seenLow": _number(float(edges[0])),
        "seenHigh": _number(float(edges[-1])),
        "seenLeast": _number(counted.least),
        "seenLargest": _number(counted.largest),
        **{f"seen{key[0].upper()}{key[1:]}": value for key, value in _plain(statistics).items()},
        **dict.fromkeys(("low", "high", "density", "mean", "std", "skew", "ends", "least", "largest")),
        **{f"{name}{what}": None for name in ("mean", "std", "skew") for what in ("Error", "Z")},
    }
    for name, score in (("mean", statistics.mean), ("std", statistics.std), ("skew", statistics.skew)):
        found[f"{name}Error"], found[f"{name}Z"] = _number(score.error), _number(score.z)
    if known is not None:
        m = known.moments
        found |= {"mean": _number(m.mean), "std": _number(m.std), "skew": _number(m.skew) if m.std else None}
        found |= {"low": found["seenLow"], "high": found["seenHigh"], "density": _numbers(known.density)}
        found |= {"least": _number(known.bounds[0]), "largest": _number(known.bounds[1])}
        found["ends"] = _number(known.ends[2]) if known.ends is not None else None
    return found


def _plain(statistics: Statistics) -> dict[str, Any]:
    return {
        "mean": _number(statistics.mean.value),
        "std": _number(statistics.std.value),
        "skew": _number(statistics.skew.value),
    }


def _scored(name: str, score: Score | None) -> dict[str, Any]:
    if score is None:
        return {name: None, f"{name}Error": None, f"{name}Z": None}
    return {name: _number(score.value), f"{name}Error": _number(score.error), f"{name}Z": _number(score.z)}


def _numbers(values: Any) -> list[float | None]:
    return [_number(float(value)) for value in values]


def _number(value: float | None) -> float | None:
    """A number with the digits that are shown; JSON has no infinite ones."""
    return float(f"{value:.{_DIGITS}g}") if value is not None and isfinite(value) else None
