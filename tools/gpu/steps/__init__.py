"""The steps, in their order: whether fills are right and how fast they are, then what else may be wrong, then what is faster.

Each is a module of this folder with ``cases(here)``: name -> a call, which returns the figures that it found (whatever JSON
holds), and raises where something is not as it must be. A step may take so many seconds, and each of its cases.
"""

from typing import NamedTuple


class Step(NamedTuple):
    name: str
    what: str
    seconds: float
    case_seconds: float
    shared: bool = False  # by several processes at once, as it compiles and compares more than it measures


STEPS = {
    step.name: step
    for step in (
        Step("doctor", "versions, known answers, every backend against the reference", 100, 90, shared=True),
        Step("laws", "every law, dtype and layout against the CPU's backend and the reference", 240, 120, shared=True),
        Step("bank", "a bank of more than 2**31 elements", 90, 40),
        Step("fills", "fill_, normal_, torch.nn.init and ours, in turn", 90, 60),
        Step("lists", "lists of ten thousand tensors", 90, 70),
        Step("graphs", "CUDA graphs of fills and of lists", 60, 30),
        Step("streams", "side streams, events, threads, and no wait for the GPU", 40, 20),
        Step("pinned", "tables of lists, of which the memory is wanted again while they are copied", 40, 30),
        Step("compiled", "torch.compile, alone and with CUDA graphs", 100, 60),
        Step("nccl", "DTensors and fully_shard on a mesh of one rank", 60, 30),
        Step("small", "what a launch costs the host", 40, 30),
        Step("warm", "compiles what the sweep compares", 120, 60, shared=True),
        Step("sweep", "units, warps, blocks, programs, a persistent grid, clamped pairs", 120, 60),
        Step("sanitizer", "compute-sanitizer: memcheck, racecheck, initcheck", 210, 90),
        Step("counters", "ncu's counters of the main kernels", 90, 80),
    )
}
