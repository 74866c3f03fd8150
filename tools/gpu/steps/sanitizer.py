"""compute-sanitizer: no access outside of a tensor, no race in shared memory, no read of memory that nothing has written."""

import re
from collections.abc import Callable
from functools import partial

from gpu import tool
from gpu.here import Here
from gpu.truth import Wrong

FOUND = 9  # the exit code for errors of the kernels


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    tools = {name: partial(_checked, here, name) for name in ("memcheck", "racecheck", "initcheck")}
    return {"without a tool": lambda: _plain(here), **tools}


def _plain(here: Here) -> dict:
    """What is wrong without a tool is nothing that a tool found; and the kernels are compiled."""
    done = tool.run(here, [], here.sizes.sanitized)
    if done.returncode:
        raise Wrong(f"exit code {done.returncode}: see log.txt")
    return {"says": done.stdout.strip()}


def _checked(here: Here, name: str) -> dict:
    command = ["compute-sanitizer", "--tool", name, "--error-exitcode", str(FOUND), "--print-limit", "20"]
    # Without torch's cache each tensor is an allocation of its own, whose bounds are known.
    done = tool.run(here, command, here.sizes.sanitized, PYTORCH_NO_CUDA_MEMORY_CACHING="1")
    output = done.stdout + done.stderr
    summary = re.search(r"(?:ERROR|RACECHECK) SUMMARY: .*", output)
    if summary is None or "Device not supported" in output:
        raise tool.NotHere("compute-sanitizer does not work on this machine: " + " ".join(output.split())[-300:])
    ours = sorted(set(re.findall(r"fill_(?:rows|box|table)", output)))
    if ours or done.returncode not in (0, FOUND):
        raise Wrong(
            f"exit code {done.returncode}, {summary[0]}, of {', '.join(ours) or 'no kernel of ours'}: see log.txt"
        )
    return {"says": summary[0], "of kernels of others alone": bool(done.returncode)}
