"""Where the steps run, and how large they are: on the first GPU, in full."""

import os
from dataclasses import dataclass
from typing import Any

import torch

WORKERS = min(12, os.cpu_count() or 1)


@dataclass(frozen=True)
class Sizes:
    """How much a step does. The numbers are for a GPU with 80 GB or more."""

    laws: tuple[str, ...] | None = None  # of tests/strategies.py; None: all of them
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    measured: tuple[str, ...] = ("float32", "bfloat16")  # dtypes of what is timed
    swept: tuple[str, ...] = ("3 sigma", "normal")  # laws of the sweep
    variants: int | None = None  # at most so many of each group of it
    law: int = 5_000_000  # elements of each law, dtype and layout: 1.05e8 of all laws
    bank: tuple[int, int, int] = (64, 8192, 4352)  # 2.28e9 elements, past 2**31
    part: int = 2**26  # elements that are compared at once
    sample: int = 2**14  # elements of each sample that is compared with the reference
    fill: int = 2**24 + 8  # elements of a tensor of no particular size
    list: int = 200  # tensors of a list of no particular length
    lists: int = 40  # lists of the pinned tables
    bench: tuple[int, ...] = (2**20, 2**26, 2**30, 2**33)  # bytes of a tensor
    sweep: int = 2**30
    experts: tuple[int, int] = (53, 64)  # blocks, and experts of each: three times as many tensors, 10176
    matrix: tuple[int, int] = (512, 1024)  # each of them
    launches: int = 500  # in a row
    rounds: tuple[int, int] = (5, 30)  # of a timing, at least and at most
    seconds: float = 2.0  # of a timing, about
    busy: int = 200_000_000  # cycles that a stream is kept busy for: 0.1 s
    profiled: int = 2**25  # elements of a tensor under ncu
    sanitized: int = 2**16 + 5  # elements of a tensor under compute-sanitizer


@dataclass(frozen=True)
class Here:
    """What is not the same on a GPU and in a rehearsal."""

    device: torch.device
    told: Any  # the device, as the benchmarks are told of it, which do on a GPU what they do not on a CPU
    sizes: Sizes
    workers: int  # processes of a step that is shared
    collectives: str  # the backend of torch.distributed
    compiler: str  # and of torch.compile
    on: str  # the module that this comes from, for processes of a step's own


def here() -> Here:
    if not torch.cuda.is_available():
        raise RuntimeError("torch.cuda.is_available(): expected True")
    device = torch.device("cuda", 0)
    torch.empty(1, device=device)
    return Here(device, device, Sizes(), WORKERS, "nccl", "inductor", __name__)
