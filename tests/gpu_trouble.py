"""Run by test_gpu_check.py in a process of its own: a step in which everything goes wrong that can, and one without an end.

python gpu_trouble.py FOLDER
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

TOOLS = str(Path(__file__).parents[1] / "tools")
sys.path.append(TOOLS)

from gpu import tree  # noqa: E402

tree.use()

import torch  # noqa: E402
from gpu import rows, runner  # noqa: E402
from gpu.here import Here, Sizes  # noqa: E402
from gpu.steps import Step  # noqa: E402
from gpu.tool import NotHere  # noqa: E402
from gpu.truth import Wrong  # noqa: E402

CPU = torch.device("cpu")


def wrong() -> dict:
    raise Wrong("other bits", elements=7)


def gate() -> dict:
    raise SystemExit("differs from the reference")


def absent() -> dict:
    raise NotHere("no such tool")


def illegal() -> dict:
    """As after an illegal access: whatever the GPU is asked for from now on is an error."""

    def synchronize() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    torch.cuda.synchronize = synchronize
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def fine() -> dict:
    torch.cuda.synchronize()
    return {"elements": 1}


def tool() -> dict:
    """One that has no end, as NVIDIA's around a process of ours may have none."""
    started = subprocess.Popen(["tail", "-f", os.devnull])
    print("tool", started.pid, flush=True)
    started.wait()
    return {}


CASES = {
    "fine": fine,
    "wrong": wrong,
    "gate": gate,
    "absent": absent,
    "illegal": illegal,
    "fine after it": fine,
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda: os._exit(7),
    "tool": tool,
    "hang": lambda: threading.Event().wait(),
    "fine at last": fine,
}


def main(folder: str) -> None:
    torch.cuda.synchronize = lambda: None
    torch.cuda.get_device_properties = lambda number: SimpleNamespace(multi_processor_count=1, total_memory=1)
    sys.modules["here_is_trouble"] = SimpleNamespace(
        WORKERS=2, here=lambda: Here(CPU, CPU, Sizes(), 2, "gloo", "eager", "here_is_trouble")
    )
    endless = {f"hang {k}": CASES["hang"] for k in range(2)}
    for name, cases in (("trouble", CASES), ("shared", CASES), ("endless", endless)):
        sys.modules[f"gpu.steps.{name}"] = SimpleNamespace(cases=lambda here, cases=cases: cases)
    sys.modules["gpu.steps.unable"] = SimpleNamespace(cases=lambda here: 1 / 0)
    sys.modules["gpu.steps.absent"] = None  # its import is an error
    steps = (
        Step("trouble", "", 60, 1),
        Step("shared", "", 60, 1, shared=True),
        Step("endless", "", 1, 60),
        Step("unable", "", 60, 1),
        Step("absent", "", 60, 1),
    )
    runner.STEPS |= {step.name: step for step in steps}
    file = rows.File(Path(folder) / "rows.jsonl")
    print(*runner.run([step.name for step in steps], 60, "here_is_trouble", file), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
