"""Numbers that a user gives, as Python's, or an error that names the argument."""

from math import inf, isfinite
from operator import index


def finite(name: str, value: object, least: float = -inf, most: float = inf) -> float:
    """A finite number in [least, most].

    >>> finite("gain", -1, least=0)
    Traceback (most recent call last):
    ValueError: gain: expected a finite number >= 0, got -1
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a real number, got {value!r}") from None
    except OverflowError:
        number = inf
    if not isfinite(number) or not least <= number <= most:
        wanted = f" >= {least}" if isfinite(least) else ""
        wanted = f" in [{least}, {most}]" if isfinite(most) else wanted
        raise ValueError(f"{name}: expected a finite number{wanted}, got {value}")
    return number


def whole(name: str, value: object) -> int:
    """A whole number of at least 1."""
    try:
        number = index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: expected a whole number, got {value!r}") from None
    if number < 1:
        raise ValueError(f"{name}: expected a number >= 1, got {number}")
    return number
