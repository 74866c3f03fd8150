"""The Triton kernels on a CPU, under the interpreter that conftest.py has chosen."""

import torch
import triton

from fastinit.backends import triton as backend
from fastinit.kernels.philox import philox_test_entry

assert backend.INTERPRETED
fill_ = backend.fill_
fill_many_ = backend.fill_many_


def philox_words(counter: torch.Tensor, key: torch.Tensor, rounds: int) -> torch.Tensor:
    """The kernel's Philox of (n, 4) counters and (n, 2) keys, int64 words."""
    out = torch.zeros(len(counter), 4, dtype=torch.uint32)
    philox_test_entry[(triton.cdiv(len(counter), 4),)](
        out, counter.to(torch.uint32), key.to(torch.uint32), len(counter), ROUNDS=rounds, BLOCK=4
    )
    return out.long()
