"""What "the same bits" means: exact equality, from NaN, inside memory that must stay as it was."""

import math

import torch
from strategies import Memory

from fastinit import reference
from fastinit.fill import Fill


def assert_same_bits(got: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal shapes, dtypes and values, NaN being equal to NaN, and 0 not to -0."""
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)
    if expected.is_floating_point():
        signs = ((t.signbit() & ~t.isnan()) for t in (got, expected))
        torch.testing.assert_close(*signs, msg=lambda text: f"signs: {text}")


def assert_fills_like_reference(fill_, memory: Memory, dtype: torch.dtype, fill: Fill) -> None:
    """From NaN, inside a larger buffer: each element as the reference has it, each one around it untouched."""
    buffer, tensor = memory.tensors(dtype)
    fill_(tensor, fill)
    expected_buffer, expected = memory.tensors(dtype)
    whole = torch.full(memory.shape, math.nan, dtype=dtype)
    reference.fill_(whole, fill)
    expected.copy_(whole)
    assert_same_bits(buffer, expected_buffer)
