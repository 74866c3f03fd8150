"""The Triton kernels on a CPU, under the interpreter that conftest.py has chosen."""

import torch
import triton
import triton.language as tl

from fastinit.backends import triton as backend
from fastinit.kernels.law import Law
from fastinit.kernels.philox import philox_test_entry
from fastinit.kernels.quantile import bounded_value_of, round_to
from fastinit.law.distributions import Distribution

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


@triton.jit
def values_test_entry(
    out_ptr, word_ptr, n,  # (n,) of the dtype, and uint32
    numbers, split, bounds, coefficients,  # of Law
    REGIME: tl.constexpr, CLAMP: tl.constexpr, LOG: tl.constexpr,  # of Law
    BLOCK: tl.constexpr,
):  # fmt: skip
    """No index of an element has a word of one's choice."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    word = tl.load(word_ptr + row, mask=row < n)
    value = bounded_value_of(word, Law(REGIME, CLAMP, LOG, *numbers, split.to(tl.int64), *bounds, coefficients))
    tl.store(out_ptr + row, round_to(value, out_ptr.dtype.element_ty), mask=row < n)


def values_of_words(words: torch.Tensor, law: Distribution, dtype: torch.dtype) -> torch.Tensor:
    """The kernel's values of (n,) int64 words in [0, 2**32)."""
    out = torch.empty(len(words), dtype=dtype)
    values_test_entry[(triton.cdiv(len(words), 1024),)](
        out, words.to(torch.uint32), len(words),
        *backend._law_arguments(law, dtype), **backend._law_options(law, backend._clamp(law, dtype)[0]), BLOCK=1024,
    )  # fmt: skip
    return out
