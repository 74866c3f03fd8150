"""A row: what was measured, on what, with which versions; appended to a CSV file and never edited."""

import csv
import platform
import subprocess
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import fastinit

RESULTS = Path(__file__).parent / "results"


def environment(device: torch.device) -> dict[str, str]:
    """The columns that every row of a run shares."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "numba": _version("numba"),
        "fastinit": fastinit.__version__,
        "stream": str(fastinit.STREAM_VERSION),
        "commit": _commit(),
        "date": date.today().isoformat(),
    }


def append(name: str, rows: list[dict[str, str]]) -> Path:
    """Add the rows to ``results/name.csv``."""
    path = RESULTS / f"{name}.csv"
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)
    return path


def read(name: str) -> list[dict[str, str]]:
    """All rows of a benchmark, oldest first."""
    with (RESULTS / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
