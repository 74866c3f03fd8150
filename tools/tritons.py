"""Compile the kernels with each Triton that is served: the suite has but one of them, and a GPU machine often an older one.

    python tools/tritons.py [--versions 3.6.0 3.7.1] [--torch 2.11.0]

For each version: a new environment with that Triton, torch as the index has it and the wheel of dist/ (`make dist`), in which
tools/sass.py compiles and counts the main fills, and the half-normal law's. Exits with 1 unless all of them compile.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.6.0", "3.7.1", "3.8.0")
CASES = (
    "3sigma/*/flat",
    "normal/*/flat",
    "half/*/flat",
    "3sigma/fp32/*",
    "--arch",
    "sm_80",
    "sm_90",
    "sm_100",
    "gfx942",
)


def main() -> int:
    """Try each version; print what is counted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--versions", nargs="+", default=VERSIONS, metavar="X.Y.Z")
    parser.add_argument("--torch", default="2.11.0", metavar="X.Y.Z", help="the oldest that is served")
    given = parser.parse_args()
    (wheel,) = (ROOT / "dist").glob("*.whl")
    well = [compiles(version, given.torch, wheel) for version in given.versions]
    print(f"{sum(well)} of {len(well)} versions of Triton compile all kernels")
    return 0 if all(well) else 1


def compiles(version: str, torch: str, wheel: Path) -> bool:
    """Whether all kernels compile with this Triton."""
    with tempfile.TemporaryDirectory() as folder:
        for command in (
            ["uv", "venv", "-q", "--python", "3.11", "env"],
            ["uv", "pip", "install", "-q", "--python", "env", f"torch=={torch}", str(wheel)],
            [
                "uv",
                "pip",
                "install",
                "-q",
                "--python",
                "env",
                "--no-deps",
                f"triton=={version}",
            ],  # torch may name another
            ["env/bin/python", str(ROOT / "tools" / "sass.py"), *CASES],
        ):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"Triton {version}: {' '.join(command[:3])} failed: {done.stderr[-500:]}", flush=True)
                return False
    print(f"Triton {version}:\n{done.stdout}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
