"""A law, as the one argument that the kernels' functions pass on."""

from typing import NamedTuple

import triton.language as tl


class Law(NamedTuple):
    """The numbers of fastinit.law.lowered.Lowered, and what they are compiled for.

    A kernel takes them in parts, as an integer in a tuple would make a kernel of its own for some values, and puts them
    together where it passes them on: a constexpr in a tuple that is assigned to a name becomes a number of the run.
    """

    REGIME: tl.constexpr
    CLAMP: tl.constexpr
    SIDE: tl.constexpr  # of the split
    LOG: tl.constexpr  # coefficients, the same for all laws of a regime
    scale: tl.tensor
    offset: tl.tensor
    offset_right: tl.tensor
    gain: tl.tensor
    shift: tl.tensor
    origin: tl.tensor
    split: tl.tensor  # int32; all other numbers are fp32
    lowest: tl.tensor  # the dtype's interval, or the floor of y
    highest: tl.tensor
    coefficients: tuple[tl.tensor, ...]
