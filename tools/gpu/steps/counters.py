"""ncu: time, bytes, instructions, issue slots and warps of each kernel of ours."""

import csv
from collections.abc import Callable

from gpu import tool
from gpu.here import Here

METRICS = {
    "gpu__time_duration.sum": "time",
    "dram__bytes_write.sum": "bytes written",
    "dram__bytes_read.sum": "bytes read",
    "sm__inst_executed.sum": "instructions",
    "smsp__issue_active.avg.pct_of_peak_sustained_active": "issue slots, %",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "warps, %",
    "launch__registers_per_thread": "registers",
    "launch__grid_size": "blocks",
    "launch__waves_per_multiprocessor": "waves",
}


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    return {"the kernels of a run": lambda: _counted(here)}


def _counted(here: Here) -> dict:
    """With a metric that this ncu does not know it counts nothing: then those that it counts by itself."""
    for metrics in (["--metrics", ",".join(METRICS)], []):
        command = ["ncu", "--clock-control", "none", "--csv", "-k", "regex:fill_", *metrics]
        done = tool.run(here, command, here.sizes.profiled)
        if found := parsed(done.stdout):
            return found
    raise tool.NotHere("ncu does not work on this machine: " + " ".join((done.stdout + done.stderr).split())[-300:])


def parsed(output: str) -> dict[str, dict[str, str]]:
    """Of each launch, by its number and kernel, the metrics with their units."""
    lines = output.splitlines()
    begin = next((k for k, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    found: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(line for line in lines[begin:] if line.startswith('"')):
        launch = found.setdefault(f"{row['ID']} {row['Kernel Name']}", {})
        metric = METRICS.get(row["Metric Name"], row["Metric Name"])
        launch[metric] = f"{row['Metric Value']} {row['Metric Unit']}".strip()
    return found
