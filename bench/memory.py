"""Extra memory: the most bytes that a call holds at once beyond what there was, and how large a tensor may be.

On a GPU the caching allocator tells. On a CPU two ledgers are added: torch's profiler, which records each allocation and
release of torch's allocator, inside of operators too, and tracemalloc, which records those of Python and numpy. Both
are exact and see any size, which the process's resident memory is not and does not.
"""

import os
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from fastinit.cli.memory import free_bytes

# torch.nn.init.trunc_normal_ takes three and a half times the tensor besides it.
COPIES = 4.5
SHARE = 0.6  # of the free memory


def largest_tensor(device: torch.device) -> int:
    """Bytes of the largest tensor that every provider can fill."""
    return int(SHARE * free_bytes(device) / COPIES)


def extra_bytes(call: Callable[[], object], device: torch.device) -> int:
    """The peak of what the call allocates, with what it releases on the way taken off."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated(device) - before
    tracemalloc.start()
    try:
        with _quiet(), torch.autograd.profiler.profile(profile_memory=True) as profiler:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            call()
            python = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    held = peak = 0
    for event in sorted(profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak + max(python, 0)


@contextmanager
def _quiet() -> Iterator[None]:
    """The profiler writes a line to the standard error whenever it starts or stops, by itself and unasked."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
