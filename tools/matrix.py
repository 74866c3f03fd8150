"""Install what is published in clean environments of each Python and torch, and compare the bits that it makes there.

    python tools/matrix.py [--pythons 3.10 3.11] [--torches 2.11.0 2.13.0] [--out matrix.csv]

For each pair: a new environment, torch as the index has it, the wheel of dist/ (`make dist`), nothing else; then `import fastinit`,
`fastinit doctor`, and the digest of a model that `fastinit init` fills. The archive of the sources is tried so, too, on each Python
with the last torch. The digests of all are one. What cannot be installed is told with its reason. uv makes the environments, as it
links what it has downloaded once. Exits with 1 unless all that could be installed is well, and something could.
"""

import argparse
import csv
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
TORCHES = ("2.11.0", "2.12.1", "2.13.0")


class Outcome(NamedTuple):
    """Of one environment: ``said`` is the digest of the bits, or why there is none."""

    python: str
    torch: str
    archive: str
    installed: bool
    ok: bool
    said: str


def main() -> int:
    """Try each pair; print a line each, and store them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", nargs="+", default=PYTHONS, metavar="X.Y")
    parser.add_argument("--torches", nargs="+", default=TORCHES, metavar="X.Y.Z")
    parser.add_argument("--out", type=Path, metavar="FILE")
    given = parser.parse_args()
    (wheel,), (sources,) = ((ROOT / "dist").glob(pattern) for pattern in ("*.whl", "*.tar.gz"))
    ways = [(torch, wheel) for torch in given.torches] + [(given.torches[-1], sources)]
    rows = []
    for torch, archive in ways:
        for python in given.pythons:
            rows.append(outcome(python, torch, archive))
            print(f"Python {python}, torch {torch}, {archive.name}: {rows[-1].said}", flush=True)
    if given.out:
        with given.out.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([Outcome._fields, *rows])
    print(verdict(rows))
    return 0 if well(rows) else 1


def verdict(rows: Sequence[Outcome]) -> str:
    """How many are well, in a line."""
    told = f"{sum(row.ok for row in rows)} of {sum(row.installed for row in rows)} that could be installed are well"
    missing = len(rows) - sum(row.installed for row in rows)
    return f"{told}, with {len({row.said for row in rows if row.ok})} digest of the bits; {missing} could not be"


def well(rows: Sequence[Outcome]) -> bool:
    """Whether there are environments, and all of them give the same bits."""
    installed = [row for row in rows if row.installed]
    return all(row.ok for row in installed) and len({row.said for row in installed}) == 1


def outcome(python: str, torch: str, archive: Path) -> Outcome:
    """What one clean environment gives."""
    found = (python, torch, archive.name)
    with tempfile.TemporaryDirectory() as folder:
        for command in (
            ["uv", "venv", "-q", "--python", python, "env"],
            ["uv", "pip", "install", "-q", "--python", "env", f"torch=={torch}", str(archive)],
        ):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                return Outcome(*found, False, False, f"not installed: {' '.join(done.stderr.split())[:200]}")
        code = "import fastinit, torch; print(torch.__version__)"
        for command in (
            ["env/bin/python", "-W", "error", "-c", code],
            ["env/bin/fastinit", "doctor"],
            ["env/bin/fastinit", "init", "tiny-moe"],
        ):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                return Outcome(*found, True, False, f"{' '.join(command[1:])}: {(done.stdout + done.stderr)[-300:]}")
        digest = re.search(r"digest: sha256 ([0-9a-f]{64})", done.stdout)
        return Outcome(*found, True, digest is not None, digest[1] if digest else "no digest was printed")


if __name__ == "__main__":
    sys.exit(main())
