"""Layouts: which dimension of a weight holds its inputs and which its outputs, where the experts are, and what follows.

A layout names each dimension of the logical tensor with a letter: ``i`` input, ``o`` output, ``e`` expert, ``k`` kernel.
``(e i)`` is a dimension in which the inputs of the experts follow each other, an expert after the other.
"""

import re
from functools import lru_cache
from math import prod
from typing import NamedTuple

Shape = tuple[int, ...]

_AXIS = re.compile(r"[eiok]|\(e [iok]\)")


class Fans(NamedTuple):
    """Inputs of one output, and outputs of one input."""

    fan_in: int
    fan_out: int


class Matrices(NamedTuple):
    """The matrices that a weight is made of: ``number`` times the next ``size`` indices of dimension ``dim``, each as it
    lies, with ``rows`` rows."""

    dim: int
    size: int
    number: int
    rows: int


def fan_in(layout: str, shape: Shape, num_experts: int | None = None) -> int:
    """Inputs of one output of a weight of this layout.

    >>> fan_in("o i", (4096, 1024))  # torch.nn.Linear
    1024
    >>> fan_in("e i o", (64, 2048, 1024)), fan_in("e o i", (64, 2048, 1024))
    (2048, 1024)
    >>> fan_in("(e i) o", (64 * 2048, 1024), num_experts=64)  # the experts' rows below each other
    2048

    ``shape`` is the logical tensor's, not a shard's. The fan that ``torch.nn.init`` takes of a 3-D tensor is that of a
    convolution, and wrong for a bank of experts by the number of experts or of outputs.

    Raises ``ValueError`` when the layout does not fit the shape, or needs a number of experts that is None.
    """
    return _extent("ik", "i", layout, shape, num_experts)


def fans(layout: str, shape: Shape, num_experts: int | None = None) -> Fans:
    """Both fans of a weight of this layout.

    >>> fans("e i o", (64, 2048, 1024))
    Fans(fan_in=2048, fan_out=1024)
    >>> fans("o i k", (96, 32, 4))  # torch.nn.Conv1d: a kernel counts for both
    Fans(fan_in=128, fan_out=384)

    Raises what :func:`fan_in` does, and ``ValueError`` for a layout without ``o``.
    """
    return _fans(layout, shape, num_experts)


@lru_cache(maxsize=4096)
def _fans(layout: str, shape: Shape, num_experts: int | None) -> Fans:
    return Fans(fan_in(layout, shape, num_experts), _extent("ok", "o", layout, shape, num_experts))


def convolution(shape: Shape) -> str:
    """The layout that ``torch.nn.init`` takes any tensor to have.

    >>> convolution((64, 3, 7, 7)), convolution((4096, 1024))
    ('o i k k', 'o i')
    """
    return " ".join(("o", "i", *("k" for _ in shape[2:])))


def matrices(layout: str, shape: Shape, num_experts: int | None = None) -> Matrices:
    """The matrices of a weight of this layout, one an expert.

    >>> matrices("e i o", (64, 2048, 1024))
    Matrices(dim=0, size=1, number=64, rows=2048)
    >>> matrices("i (e o)", (1024, 64 * 2048), num_experts=64)
    Matrices(dim=1, size=2048, number=64, rows=1024)
    >>> matrices("o i k", (96, 32, 4))  # one, of 96 rows
    Matrices(dim=0, size=96, number=1, rows=96)

    Raises what :func:`fans` does, and ``ValueError`` for a layout in which two dimensions hold experts.
    """
    fans(layout, shape, num_experts)
    axes = _axes(layout, shape, "i")
    banks = [dim for dim, axis in enumerate(axes) if "e" in axis]
    if len(banks) > 1:
        raise ValueError(f"layout: expected one dimension of experts, got {layout!r}")
    first = next(dim for dim, axis in enumerate(axes) if axis != "e")
    if not banks:
        return Matrices(first, shape[first], 1, shape[first])
    (dim,) = banks
    number = shape[dim] if axes[dim] == "e" else num_experts or 1
    size = shape[dim] // number if number else 0
    return Matrices(dim, size, number, size if dim == first else shape[first])


def _extent(letters: str, needed: str, layout: str, shape: Shape, num_experts: int | None) -> int:
    """The product of the sizes, an expert's, of the dimensions that have one of the letters."""
    axes = _axes(layout, shape, needed)
    return prod(
        _one_expert(axis, size, layout, num_experts)
        for axis, size in zip(axes, shape, strict=True)
        if set(axis) & set(letters)
    )


def _axes(layout: str, shape: Shape, needed: str) -> list[str]:
    axes = re.findall(r"\([^)]*\)|\S+", layout)
    if len(axes) != len(shape) or needed not in layout or not all(map(_AXIS.fullmatch, axes)):
        raise ValueError(
            f"layout: expected a letter of e, i, o and k, or such as (e i), for each dimension of {tuple(shape)}, "
            f"{needed} among them, got {layout!r}"
        )
    return axes


def _one_expert(axis: str, size: int, layout: str, num_experts: int | None) -> int:
    if "e" not in axis:
        return size
    if not num_experts or size % num_experts:
        raise ValueError(f"num_experts: expected a divisor of {size} for layout {layout!r}, got {num_experts}")
    return size // num_experts


# torch.compile cannot trace these, and warns of lru_cache: it is to call them while it traces, and take what they return for
# constants, as in dtensor.py.
setattr(fans, "_dynamo_marked_constant", True)  # noqa: B010 - mypy knows no attributes of functions
setattr(matrices, "_dynamo_marked_constant", True)  # noqa: B010
