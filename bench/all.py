"""All benchmarks one after the other, with sizes for the machine at hand, then the report."""

import argparse
import subprocess
import sys
import time

from bench import rows

STEPS = ("micro", "sharded", "model", "scale", "live", "sass", "report")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--skip", nargs="+", choices=STEPS, default=[])


def run(arguments: argparse.Namespace) -> int:
    """Each in a process of its own: what one leaves in memory, or breaks, is nothing to the others."""
    failed = []
    for step in STEPS:
        if step in arguments.skip:
            continue
        begin = time.perf_counter()
        print(f"\n{step}", flush=True)
        if subprocess.run([sys.executable, "-m", "bench", step], cwd=rows.ROOT, check=False).returncode:
            failed.append(step)
        print(f"{step}: {time.perf_counter() - begin:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0
