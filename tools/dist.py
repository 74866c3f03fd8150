"""Build what is published, twice, and check that it is the same, whole and as PyPI wants it.

    make dist      # dist/fastinit_torch-VERSION.tar.gz and dist/fastinit_torch-VERSION-py3-none-any.whl

Two builds of one commit, in two clones, have the same bytes: every file is as old as the commit, and the archive of the sources is
written again in one order and for no user, as setuptools packs it by the clock. `python -m build` makes both, `twine check` reads
them. Exits with 1 where they differ, or hold what they should not.
"""

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_STRANGERS = ("tests/", "bench/", "tools/", "docs/", "examples/", ".github/")


def main() -> int:
    """Build in two clones, compare, check, and put the result into dist/."""
    epoch = _git("log", "-1", "--format=%ct").strip()
    if _git("status", "--porcelain"):
        print("dist: expected a clean commit, got changes that are not in it", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        built = [_build(Path(folder) / f"clone{k}", epoch) for k in (1, 2)]
        different = [one.name for one, other in zip(*built, strict=True) if one.read_bytes() != other.read_bytes()]
        strangers = [
            f"{path.name}: {name}" for path in built[0] for name in _names(path) if name.startswith(_STRANGERS)
        ]
        for line in [f"{name}: two builds differ" for name in different] + [f"holds {name}" for name in strangers]:
            print(f"dist: {line}", file=sys.stderr)
        checked = subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *built[0]], check=False)
        if different or strangers or checked.returncode:
            return 1
        out = ROOT / "dist"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        for path in built[0]:
            shutil.copy(path, out)
            print(f"{path.stat().st_size:9,} bytes, the same in two builds: dist/{path.name}")
    return 0


def _build(clone: Path, epoch: str) -> list[Path]:
    """The wheel and the archive of the sources, built in a clone of this commit."""
    _git("clone", "-q", str(ROOT), str(clone))
    command = [sys.executable, "-m", "build", "--outdir", str(clone / "dist"), str(clone)]
    subprocess.run(command, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": epoch}, stdout=subprocess.DEVNULL)
    (archive,) = (clone / "dist").glob("*.tar.gz")
    archive.write_bytes(repacked(archive.read_bytes(), int(epoch)))
    return sorted((clone / "dist").iterdir())


def repacked(archive: bytes, epoch: int) -> bytes:
    """A tar.gz with the same files in the order of their names, of one time, and of nobody."""
    plain = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            content = old.extractfile(member) if member.isfile() else None
            member.mtime, member.mode = epoch, 0o644 if member.isfile() else 0o755
            member.uid, member.gid, member.uname, member.gname, member.pax_headers = 0, 0, "", "", {}
            new.addfile(member, content)
    return gzip.compress(plain.getvalue(), mtime=epoch)


def _names(path: Path) -> list[str]:
    if path.suffix == ".whl":
        return zipfile.ZipFile(path).namelist()
    with tarfile.open(path) as archive:
        return [name.partition("/")[2] for name in archive.getnames()]


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
