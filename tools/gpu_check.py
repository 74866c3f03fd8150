"""Everything that a GPU can tell of fastinit, in one command of at most 25 minutes.

    python tools/gpu_check.py                     # or: make gpu
    python tools/gpu_check.py --budget 540        # nine minutes of it; the next call goes on where this one ended
    python tools/gpu_check.py --only laws sweep   # some steps
    python tools/gpu_check.py --list              # what there is, and how long each may take

Nothing need be installed but torch, Triton and numpy (and llvmlite, without which every comparison is with the reference). No
failure ends it. Into the folder of ``--out`` go rows.jsonl (a row as soon as there is one), report.md and log.txt. A case
that has a row of the same commit is not run again, unless ``--again`` asks for it; where the machine does not keep its
disk, put back rows.jsonl first. ``--bench`` copies the rows of a finished run into bench/results, from which README's tables
are made, and runs nothing.

On a copy of the tree without its history FASTINIT_COMMIT names the commit.
"""

import argparse
import sys
from pathlib import Path

from gpu import tree

tree.use()

from gpu import report, rows, runner  # noqa: E402
from gpu.steps import STEPS  # noqa: E402

BUDGET = 25 * 60  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=tree.ROOT / "build" / "gpu", help="folder of what is written")
    parser.add_argument("--budget", type=float, default=BUDGET, metavar="SECONDS", help="for all steps together")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP")
    parser.add_argument("--again", action="store_true", help="run cases again that have a row, too")
    parser.add_argument("--list", action="store_true", help="print the steps")
    parser.add_argument("--bench", action="store_true", help="only copy rows into bench/results")
    parser.add_argument("--on", default="gpu.here", metavar="MODULE", help="whose here() says where the steps run")
    arguments = parser.parse_args()
    if arguments.list:
        for name, step in STEPS.items():
            print(f"{name:12}{step.seconds:5.0f} s  {step.what}")
        return 0
    file = rows.File(arguments.out / "rows.jsonl")
    if arguments.bench:
        report.to_bench(file)
        return 0
    names = [name for name in STEPS if name in arguments.only]
    text = report.FAILURES
    for line in runner.run(names, arguments.budget, arguments.on, file, arguments.again):
        print(line, flush=True)
        text = report.write(file, arguments.out / "report.md")
    print("\n" + text[: text.index(report.FAILURES)])
    return 0 if report.is_well(file) else 1


if __name__ == "__main__":
    sys.exit(main())
