"""NVIDIA's tools, around a process of ours."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from gpu.here import Here
from gpu.tree import ROOT


class NotHere(Exception):
    """A tool that this machine does not have, or that does not work on it: no fault of ours."""


def run(here: Here, command: list[str], elements: int, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a tool, or none, makes of gpu/target.py."""
    if command and (found := _found(command[0])) is None:
        raise NotHere(f"{command[0]} is not on this machine")
    tool = [found, *command[1:]] if command else []
    paths = [str(ROOT / folder) for folder in ("tools", "tests")]
    paths += [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    target = [sys.executable, "-m", "gpu.target", here.on, str(elements)]
    done = subprocess.run(
        [*tool, *target],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr, sep="\n", flush=True)
    return done


def _found(name: str) -> str | None:
    """On the path, or where CUDA puts it."""
    patterns = (f"usr/local/cuda*/bin/{name}", f"usr/local/cuda*/{name}/{name}", f"opt/nvidia/*/*/{name}")
    places = [str(place) for pattern in patterns for place in sorted(Path("/").glob(pattern), reverse=True)]
    return shutil.which(name) or next(iter(places), None)
