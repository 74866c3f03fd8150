"""The numbers by which fastinit.kernels.division divides."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Integers = TypeVar("Integers", int, NDArray[np.int64])


def reciprocal(divisor: Integers) -> tuple[Integers, Integers]:
    """Multiplier and shift, for quotients of numbers below 2**31 by a divisor of at least 1 and below 2**31.

    >>> multiplier, shift = reciprocal(7)
    >>> (2 * 1_000_000_000 * multiplier >> 32) >> shift
    142857142

    2 ** (31 + shift) / divisor, rounded up to more, is too large by at most 1. So quotients are too large by less than
    2**31 / 2 ** (31 + shift), which is no more than 1 / divisor: too little to reach the next integer.
    """
    shift = np.frexp(divisor - 1)[1].astype(np.int64)  # the number of its bits
    multiplier = (np.int64(2**31) << shift) // divisor + 1
    return (int(multiplier), int(shift)) if isinstance(divisor, int) else (multiplier, shift)
