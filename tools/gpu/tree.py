"""The packages of this tree, importable where nothing is installed."""

import importlib
import importlib.util
import sys
from pathlib import Path
from unittest.mock import MagicMock

ROOT = Path(__file__).resolve().parents[2]


def use() -> None:
    """Make fastinit, fastinit.kernels and bench importable, and the modules of tests/ and tools/.

    By their paths: with the root on the import path, kernels/ would be there as a package of its own.
    """
    for folder in ("tests", "tools"):
        if str(ROOT / folder) not in sys.path:
            sys.path.append(str(ROOT / folder))
    for name, folder in (("fastinit", "fastinit"), ("fastinit.kernels", "kernels"), ("bench", "bench")):
        _load(name, ROOT / folder)
    if importlib.util.find_spec("hypothesis") is None:  # the laws are beside strategies, which no step draws from
        sys.modules["hypothesis"] = MagicMock()


def _load(name: str, folder: Path) -> None:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])
    found = Path(sys.modules[name].__file__).resolve().parent
    if found != folder:
        raise SystemExit(f"{name} comes from {found}: expected {folder}")
