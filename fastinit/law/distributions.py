"""The laws that fastinit fills with, as frozen descriptions. Bounds, mean and std are in the tensor's own units.

A description is checked when it is made; nothing downstream reads a user's arguments again.
"""

from dataclasses import dataclass, fields
from math import inf, isfinite, isnan
from typing import get_args


def _number(name: str, value: object) -> float:
    """The argument as a Python float; 0-dim tensors and numpy scalars are taken, NaN is not."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a real number, got {value!r}") from None
    except OverflowError:
        raise ValueError(f"{name}: expected a number within fp64's range, got {value!r}") from None
    if isnan(number):
        raise ValueError(f"{name}: expected a number, got nan")
    return number + 0.0  # -0.0 becomes 0.0, so that equal laws compare, hash and fill equal


class _Law:
    """What the three laws share: float fields, all finite but for the bounds."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, _number(field.name, getattr(self, field.name)))
        for name in ("mean", "std"):
            value = getattr(self, name, 0.0)
            if not isfinite(value):
                raise ValueError(f"{name}: expected a finite number, got {value}")
        if getattr(self, "std", 0.0) < 0:
            raise ValueError(f"std: expected a number >= 0, got {getattr(self, 'std', None)}")
        a, b = getattr(self, "a", -inf), getattr(self, "b", inf)  # a normal has none
        if a > b:
            raise ValueError(f"a: expected a <= b, got a={a} and b={b}")

    def parameters(self) -> tuple[float, ...]:
        """The fields, in order."""
        # astuple makes deep copies, which torch.compile traces from torch 2.12 on.
        return tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class TruncatedNormal(_Law):
    """A normal of this ``mean`` and ``std``, conditioned to lie in the closed interval ``[a, b]``.

    >>> TruncatedNormal(mean=0.0, std=0.02, a=-0.06, b=0.06)
    TruncatedNormal(mean=0.0, std=0.02, a=-0.06, b=0.06)

    ``a`` and ``b`` may be infinite, and may both lie on one side of the mean. ``std == 0`` or ``a == b`` is the constant
    ``clamp(mean, a, b)``. Raises ``ValueError`` for a non-finite mean or std, a negative std, NaN, or ``a > b``.
    """

    mean: float = 0.0
    std: float = 1.0
    a: float = -2.0
    b: float = 2.0


@dataclass(frozen=True, slots=True)
class Normal(_Law):
    """A normal of this ``mean`` and ``std``, without bounds.

    >>> Normal(mean=0.0, std=0.02)
    Normal(mean=0.0, std=0.02)

    Raises ``ValueError`` for a non-finite mean or std, or a negative std.
    """

    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True, slots=True)
class Uniform(_Law):
    """A uniform on the half-open interval ``[a, b)``; ``a == b`` is the constant ``a``.

    >>> Uniform(a=-0.1, b=0.1)
    Uniform(a=-0.1, b=0.1)

    Raises ``ValueError`` for a non-finite bound or ``a > b``.
    """

    a: float = 0.0
    b: float = 1.0

    def __post_init__(self) -> None:
        _Law.__post_init__(self)
        for name in ("a", "b"):
            if not isfinite(getattr(self, name)):
                raise ValueError(f"{name}: expected a finite number, got {getattr(self, name)}")


Distribution = TruncatedNormal | Normal | Uniform
DISTRIBUTIONS: tuple[type[Distribution], ...] = get_args(Distribution)
