"""``python -m bench.foreach``: what a tensor of a long list costs the host, in microseconds.

The Triton path is measured on any machine: the table is built, and a driver takes the launches that launches nothing. Its
tensors lie in the CPU's memory, so the copy of the table to a device is not in the figure.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor
from triton.runtime import driver

import fastinit
from fastinit import Key, foreach
from fastinit.backends import get
from fastinit.distributions import Distribution, TruncatedNormal
from tools.null_driver import Driver


def lists(count: int, elements: int, laws: int) -> tuple[list[Tensor], list[Distribution], list[Key]]:
    """Tensors, their laws and their keys."""
    stds = [0.02 / (k + 1) for k in range(laws)]
    made: list[Distribution] = [TruncatedNormal(0.0, std, -3 * std, 3 * std) for std in stds]
    keys = [Key.of(f"experts.{k}.weight", 0) for k in range(count)]
    return [torch.empty(elements) for _ in range(count)], [made[k % laws] for k in range(count)], keys


def microseconds(call: Callable[[], object], count: int, repeats: int) -> str:
    """Median and shortest time of a call, for one of ``count`` tensors. The first call, which may compile, is left out."""
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    median, shortest = (seconds / count * 1e6 for seconds in (statistics.median(times[1:]), min(times[1:])))
    return f"{median:8.2f} (shortest {shortest:.2f})"


def through(backend: ModuleType, call: Callable[[], object]) -> Callable[[], object]:
    """The call, with a backend of our choice."""

    def routed() -> object:
        automatic, foreach.backend_for = foreach.backend_for, lambda device_type: backend
        try:
            return call()
        finally:
            foreach.backend_for = automatic

    return routed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--elements", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=25)
    arguments = parser.parse_args()
    driver.set_active(Driver())
    triton = get("triton")
    count, repeats = arguments.count, arguments.repeats
    for laws in (1, 50):
        tensors, distributions, keys = lists(count, arguments.elements, laws)

        def together(tensors=tensors, distributions=distributions, keys=keys):
            return fastinit.foreach_fill_(tensors, distributions, keys=keys)

        def one_by_one(tensors=tensors, distributions=distributions, keys=keys):
            for tensor, law, key in zip(tensors, distributions, keys, strict=True):
                fastinit.trunc_normal_(tensor, law.mean, law.std, law.a, law.b, key=key)

        print(f"{count} tensors of {arguments.elements} elements, {laws} laws: microseconds a tensor")
        print(f"  triton, nothing launched   {microseconds(through(triton, together), count, repeats)}")
        print(f"  CPU, in one call           {microseconds(together, count, repeats)}")
        print(f"  CPU, one by one            {microseconds(one_by_one, count, 3)}")


if __name__ == "__main__":
    main()
