"""Run by model.py in a process of its own: the Triton path, compiled for sm_90, with a driver that launches nothing.

Prints one JSON object: the host microseconds a tensor of each provider of ours.
"""

import json
import statistics
import sys
import time

import torch
from triton.runtime import driver

from bench.model import OF_OURS, moe
from fastinit.backends import triton as backend
from tools.null_driver import Driver

REPEATS = 3


def main() -> None:
    driver.set_active(Driver())
    for name, module in list(sys.modules.items()):
        if name.startswith("fastinit.") and hasattr(module, "backend_for"):
            module.backend_for = lambda device_type: backend
    blocks, experts = map(int, sys.argv[1:])
    model = moe(blocks, experts, (8, 8), torch.bfloat16, torch.device("cpu"))
    tensors = sum(1 for _ in model.parameters())
    times: dict[str, list[float]] = {name: [] for name in OF_OURS}
    for fill in OF_OURS.values():
        fill(model)
    for _ in range(REPEATS):
        for name, fill in OF_OURS.items():
            begin = time.perf_counter()
            fill(model)
            times[name].append(time.perf_counter() - begin)
    print(json.dumps({name: statistics.median(taken) / tensors * 1e6 for name, taken in times.items()}))


if __name__ == "__main__":
    main()
