"""Q of a QR decomposition in fp64, the same bits on any machine: no result depends on the order in which a library adds.

BLAS and LAPACK add in an order, and with fused multiply-adds or without, that goes by the processor and the number of threads. Here
they multiply numbers of so few bits that each product and each sum is exact, in whatever order. All else is elementwise IEEE
arithmetic, and sums by halves.
"""

from math import ceil, frexp

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

PANEL = 32  # rows at a time; more are slower one by one, and fewer in the products
_BITS = 54  # of a number that enters a product, from the largest one's down


def orthonormal_rows(matrix: Matrix) -> Matrix:
    """The rows, made orthonormal from first to last: Q of ``matrix.T = Q R`` with a positive diagonal of R, transposed.

    >>> orthonormal_rows(np.array([[3.0, 4.0], [1.0, 0.0]]))
    array([[ 0.6,  0.8],
           [ 0.8, -0.6]])

    ``matrix`` has at most as many rows as columns, which are independent. Gram-Schmidt by blocks: each is made orthogonal to those
    before it, and in itself, twice, which is enough (Giraud, Langou and Rozložník, "The loss of orthogonality in the
    Gram-Schmidt orthogonalization process", 2005): the result is orthonormal to a few 2**-53, as Householder's is.

    It takes four times the matrix's memory, and on one thread some six times as long as LAPACK.
    """
    count, length = matrix.shape
    bits = _bits(length)
    done: Matrix = matrix.copy()
    parts = np.empty((ceil(_BITS / bits), count, length))  # of what is done, for the products
    for start in range(0, count, PANEL):
        panel = done[start : start + PANEL]
        before = parts[:, :start]
        for _ in range(2):
            if start:
                along = _product(_split(panel, bits), before.transpose(0, 2, 1))
                panel -= _product(_split(along, bits), before)
            _gram_schmidt(panel)
        parts[:, start : start + PANEL] = _split(panel, bits)
    return done


def _bits(length: int) -> int:
    """Of how many bits numbers may be, so that ``length`` products of two add up within 53."""
    return (53 - (length - 1).bit_length()) // 2


def _split(numbers: Matrix, bits: int) -> Matrix:
    """Parts, the largest first, that add up to the numbers, of ``bits`` bits each: integers times a power of two."""
    unit = 2.0 ** (frexp(np.abs(numbers).max())[1] - bits)
    parts = np.empty((ceil(_BITS / bits), *numbers.shape))
    rest = numbers
    for part in parts:
        np.rint(rest / unit, out=part)
        part *= unit
        rest = rest - part
        unit *= 2.0**-bits
    return parts


def _product(left: Matrix, right: Matrix) -> Matrix:
    """The product of two matrices in parts. Those that would add less than the last bit are left out."""
    count, rows, inner = left.shape
    products = [(left[: count - k].reshape(-1, inner) @ right[k]).reshape(count - k, rows, -1) for k in range(count)]
    total: Matrix = np.zeros_like(products[0][0])
    for order in reversed(range(count)):  # the smallest first
        for k in range(order + 1):
            total += products[k][order - k]
    return total


def _gram_schmidt(rows: Matrix) -> None:
    """Make a few rows orthonormal, in place; each from those behind it as soon as it is done."""
    for k, row in enumerate(rows):
        row /= np.sqrt(_sum(row * row))
        behind = rows[k + 1 :]
        if len(behind):
            behind -= _sum(behind * row) * row


def _sum(numbers: Matrix) -> Matrix:
    """The sums of the last dimension, which stays: one half onto the other, until one is left."""
    while (size := numbers.shape[-1]) > 1:
        half = size // 2
        added = numbers[..., :half] + numbers[..., half : 2 * half]
        if size % 2:
            added[..., -1] += numbers[..., -1]
        numbers = added
    return numbers
