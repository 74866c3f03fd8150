"""The bits of elements, which are what two fills have in common: a NaN is equal to itself there, and -0.0 is not 0.0."""

import torch
from torch import Tensor

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bits_of(tensor: Tensor) -> Tensor:
    """The same memory as integers, each of the size of an element.

    >>> bits_of(torch.tensor([1.0, -0.0], dtype=torch.bfloat16))
    tensor([ 16256, -32768], dtype=torch.int16)
    """
    return tensor.view(_INTEGERS[tensor.element_size()])
