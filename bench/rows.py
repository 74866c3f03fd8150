"""Rows: what was measured, on what, with which versions; appended to a CSV file and never edited.

A benchmark has one row format. Its own columns come first, then those of ``environment``, which all rows of a run share.
"""

import csv
import os
import platform
import subprocess
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import fastinit

Row = dict[str, str]

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
_LOOK = 0.3  # seconds
ENVIRONMENT = (
    "device_type", "device", "driver", "threads", "load", "torch", "triton", "numba", "llvmlite", "fastinit", "stream", "commit",
    "date",
)  # fmt: skip
# p20 and p80 are of what the column before them is the median of.
COLUMNS: dict[str, tuple[str, ...]] = {
    "micro": (
        "fill", "provider", "dtype", "layout", "elements", "bytes", "ns_per_element", "p20", "p80", "gb_per_s",
        "fraction_of_memset", "extra_bytes", "repeats",
    ),
    "small": ("case", "provider", "elements", "us", "p20", "p80", "calls"),
    "sharded": (
        "provider", "dtype", "global_shape", "ranks", "seconds", "p20", "p80", "bytes_moved", "collectives",
        "extra_bytes_per_rank", "shard_bytes", "repeats",
    ),
    "model": (
        "provider", "dtype", "tensors", "elements", "seconds", "p20", "p80", "tensors_per_s", "host_us_per_tensor",
        "host_how", "repeats",
    ),
    "scale": (
        "kind", "parameters", "init_us", "init_p20", "init_p80", "verify_us", "verify_p20", "verify_p80", "init_calls",
        "verify_calls", "repeats",
    ),
    "live": (
        "init", "collector", "parameters", "torch_us", "added_us", "added_p20", "added_p80", "repeats",
    ),
    "sass": (
        "arch", "law", "dtype", "layout", "per_element", "fma", "alu", "imad", "conversion", "uniform", "memory",
        "control", "spills", "shared_bytes", "widest_store",
    ),
}  # fmt: skip


def environment(device: torch.device | None) -> Row:
    """The columns that every row of a run shares; no device for what was only compiled."""
    on_gpu = device is not None and device.type == "cuda"
    kind = "" if device is None else ("rocm" if torch.version.hip else "cuda") if on_gpu else "cpu"
    return {
        "device_type": kind,
        "device": "" if device is None else torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "driver": _driver() if on_gpu else "",
        "threads": str(torch.get_num_threads()) if kind == "cpu" else "",
        "load": _load() if kind else "",
        "torch": torch.__version__,
        "triton": _version("triton") or _version("pytorch-triton-rocm") or _version("pytorch-triton"),
        "numba": "",  # it compiled the CPU's fills of older rows
        "llvmlite": _version("llvmlite"),
        "fastinit": fastinit.__version__,
        "stream": str(fastinit.STREAM_VERSION),
        "commit": commit(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def check(name: str) -> None:
    """Raise ``SystemExit`` where the file has other columns than its format; called before anything is measured, too."""
    path = RESULTS / f"{name}.csv"
    if path.exists() and _header(path) != COLUMNS[name] + ENVIRONMENT:
        raise SystemExit(f"{path} has other columns than its format: run `python -m bench migrate {name}`, and look")


def append(name: str, rows: Iterable[Row]) -> Path:
    """Add the rows to ``results/name.csv``."""
    check(name)
    columns = COLUMNS[name] + ENVIRONMENT
    path = RESULTS / f"{name}.csv"
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)
    return path


def read(name: str) -> list[Row]:
    """All rows of a benchmark, oldest first; none where it never ran."""
    path = RESULTS / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def migrate(name: str) -> None:
    """Give a file the columns of today: no value changes, new columns are empty, and a column that went is an error."""
    columns, path, rows = COLUMNS[name] + ENVIRONMENT, RESULTS / f"{name}.csv", read(name)
    lost = set(_header(path)) - set(columns)
    if lost:
        raise SystemExit(f"{path} has columns that no row has today: {', '.join(sorted(lost))}")
    path.unlink()
    append(name, rows)


def drop(name: str, commit: str) -> None:
    """Forget the rows of a commit, before they are counted anew: for counts that are the same on every machine."""
    kept, path = [row for row in read(name) if row["commit"] != commit], RESULTS / f"{name}.csv"
    path.unlink(missing_ok=True)
    append(name, kept)


def _header(path: Path) -> tuple[str, ...]:
    with path.open(newline="") as file:
        return tuple(next(csv.reader(file), ()))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _load() -> str:
    """Cores that other work keeps busy, while this process sleeps. The system's average would count the run before."""
    try:
        before = _jiffies()
        time.sleep(_LOOK)
        total, idle = (after - then for after, then in zip(_jiffies(), before, strict=True))
    except OSError:
        return ""
    return f"{(os.cpu_count() or 1) * (1 - idle / max(total, 1)):.1f}"


def _jiffies() -> tuple[int, int]:
    """All time of all cores since the start, and the idle part of it."""
    user, nice, system, idle, waiting, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return user + nice + system + idle + waiting + sum(rest), idle + waiting


def _driver() -> str:
    """Of the GPU: NVIDIA's tool tells, or AMD's kernel module."""
    amd = Path("/sys/module/amdgpu/version")
    if torch.version.hip:
        return amd.read_text().strip() if amd.exists() else ""
    return _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def commit() -> str:
    """FASTINIT_COMMIT names it for a copy of the tree without its history. Rows and plots make no commit dirty."""
    if "FASTINIT_COMMIT" in os.environ:
        return os.environ["FASTINIT_COMMIT"]
    git = ("git", "-C", str(ROOT))
    changed = _output(*git, "status", "--porcelain", "--", "fastinit", "kernels", "tools", "bench/*.py")
    return _output(*git, "rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""
