"""The Triton kernels on a CPU, under the interpreter that conftest.py has chosen."""

import torch
import triton
import triton.language as tl
from triton.runtime import interpreter

from fastinit.backends import triton as backend
from fastinit.kernels.law import Law
from fastinit.kernels.philox import philox_test_entry
from fastinit.kernels.quantile import bounded_value_of
from fastinit.kernels.rounding import round_to
from fastinit.law.distributions import Distribution

assert backend.INTERPRETED
fill_ = backend.fill_
fill_many_ = backend.fill_many_


def call_as_it_is(self, *arguments, **options):
    """A call within a kernel. Triton's own patches the whole language again, as if none were running."""
    return self.rewrite()(*arguments, **options)


def remembered(np_dtype_of):
    """The function, once for each dtype. Triton's own builds a table of all dtypes for each question."""
    known = {}

    def np_dtype(dtype):
        if dtype.name not in known:
            known[dtype.name] = np_dtype_of(dtype)
        return known[dtype.name]

    return np_dtype


# Two thirds of a fill's time. Nothing of what is computed depends on them.
interpreter.InterpretedFunction.__call__ = call_as_it_is
interpreter._get_np_dtype = remembered(interpreter._get_np_dtype)


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
    REGIME: tl.constexpr, CLAMP: tl.constexpr, SIDE: tl.constexpr, LOG: tl.constexpr,  # of Law
    BLOCK: tl.constexpr,
):  # fmt: skip
    """No index of an element has a word of one's choice."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    word = tl.load(word_ptr + row, mask=row < n)
    value = bounded_value_of(word, Law(REGIME, CLAMP, SIDE, LOG, *numbers, split.to(tl.int32), *bounds, coefficients))
    tl.store(out_ptr + row, round_to(value, out_ptr.dtype.element_ty), mask=row < n)


def values_of_words(words: torch.Tensor, law: Distribution, dtype: torch.dtype) -> torch.Tensor:
    """The kernel's values of (n,) int64 words in [0, 2**32)."""
    out = torch.empty(len(words), dtype=dtype)
    values_test_entry[(triton.cdiv(len(words), 1024),)](
        out, words.to(torch.uint32), len(words),
        *backend._law_arguments(law, dtype), **backend._law_options(law, backend._clamp(law, dtype)[0]), BLOCK=1024,
    )  # fmt: skip
    return out
