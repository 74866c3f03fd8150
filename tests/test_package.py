"""What is installed, what an import costs, and which way imports go."""

import ast
import re
import resource
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import lint
import pytest

import fastinit
from fastinit.__main__ import parser
from fastinit.model.presets import presets

ROOT = Path(__file__).resolve().parent.parent
LONGEST_IMPORT = 0.04  # seconds, of the processor
LARGEST_WHEEL = 450_000  # bytes

# Each part may import from those before it that it names here, and from itself as long as that makes no circle: the floors of
# ARCHITECTURE.md. What is not listed may not be there.
_WORDS = {"version", "stream", "generator", "collector"}
_NUMBERS = {*_WORDS, "law", "shard", "fill"}
_FILLS = {*_NUMBERS, "op", "init", "foreach"}
MAY_IMPORT: dict[str, set[str]] = {
    "version": set(),
    "stream": set(),
    "collector": set(),
    "generator": {"stream"},
    "law": set(),
    "shard": {"stream", "generator"},
    "fill": {"stream", "law", "shard"},
    "kernels": set(),
    "backends": {"kernels", *_NUMBERS},
    "direct": _NUMBERS,
    "op": {"backends", "direct", *_NUMBERS},
    "init": {"op", *_NUMBERS},
    "listed": {"stream", "law", "shard", "fill"},
    "foreach": {"backends", "init", "op", "listed", *_NUMBERS},
    "model": _FILLS,
    "recipe": {"model", *_FILLS, "version"},
    "integrations": {"recipe", "model", *_FILLS},
    "checkpoint": {"recipe", "model", *_FILLS, "version"},
    "cli": {"checkpoint", "recipe", "model", "backends", *_FILLS},
    "__init__": {"checkpoint", "recipe", "model", "backends", *_FILLS},
    "__main__": {"checkpoint", "cli", "model", "version"},
}
# These are plain Python, so that a launcher without torch can use their text, and so that they stay easy to test.
WITHOUT_TORCH = (
    "collector",
    "stream",
    "version",
    "fill",
    "shard.geometry",
    "shard.axes",
    "shard.fans",
    "shard.placements",
    "shard.memory",
    "model.columns",
    "model.names",
    "model.presets",
    "model.roles",
    "model.rules",
    "model.shown",
)


def sources() -> dict[str, Path]:
    """Module name -> file, as installed: fastinit.x for fastinit/x.py and fastinit.kernels.x for kernels/x.py."""
    found = {}
    for folder, package in (("fastinit", "fastinit"), ("kernels", "fastinit.kernels")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = (package, *path.relative_to(ROOT / folder).with_suffix("").parts)
            found[".".join(parts)] = path
    return found


SOURCES = sources()


def imports(module: str, everywhere: bool = True) -> set[str]:
    """The modules that a module imports, in full; at its top level only, unless ``everywhere``."""
    tree = ast.parse(SOURCES[module].read_text("utf-8"))
    package = module.rpartition(".")[0].split(".")
    found = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parent = ".".join([*package[: len(package) + 1 - node.level], *([node.module] if node.module else [])])
            base = parent if node.level else str(node.module)
            # `from fastinit.shard import geometry` imports a module, `from fastinit.shard.geometry import LocalShard` a name.
            found |= {f"{base}.{alias.name}" if is_ours(f"{base}.{alias.name}") else base for alias in node.names}
    return found


def is_ours(module: str) -> bool:
    return module in SOURCES or f"{module}.__init__" in SOURCES


def part_of(module: str) -> str:
    return module.split(".")[1]


def test_every_part_has_its_floor() -> None:
    assert {part_of(module) for module in SOURCES} == set(MAY_IMPORT)


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_one_way(module: str) -> None:
    own = part_of(module)
    reached = {part_of(m if m in SOURCES else f"{m}.__init__") for m in imports(module) if is_ours(m)} - {own}
    assert reached <= MAY_IMPORT[own], f"{module} imports what is above it"


@pytest.mark.parametrize(
    "folder", ["law", "shard", "init", "model", "recipe", "backends", "integrations", "checkpoint", "cli"]
)
def test_a_wing_says_what_it_holds(folder: str) -> None:
    """Each file by its name, and who may import from it."""
    text = ast.get_docstring(ast.parse(SOURCES[f"fastinit.{folder}.__init__"].read_text("utf-8"))) or ""
    files = {module.rpartition(".")[2] for module in SOURCES if part_of(module) == folder} - {"__init__"}
    assert {name for name in files if not re.search(rf"\b{name}\.py", text)} == set()
    assert "import" in text


@pytest.mark.parametrize("module", [module for module in SOURCES if part_of(module) == "kernels"])
def test_kernels_import_triton_alone(module: str) -> None:
    assert {m.split(".")[0] for m in imports(module) if not m.startswith("fastinit.kernels")} <= {"triton", "typing"}


@pytest.mark.parametrize("name", [*WITHOUT_TORCH, *(m[9:] for m in SOURCES if m.startswith("fastinit.law."))])
def test_no_torch_is_reached(name: str) -> None:
    reached, waiting = set(), [f"fastinit.{name}"]
    while waiting:
        module = waiting.pop()
        for imported in imports(module) - reached:
            reached.add(imported)
            if imported in SOURCES:
                waiting.append(imported)
    assert not {m for m in reached if m.split(".")[0] in ("torch", "triton", "llvmlite")}


def test_every_command_has_its_module() -> None:
    (choices,) = [action.choices for action in parser()._actions if action.dest == "command"]
    own = {m: SOURCES[m].read_text("utf-8") for m in SOURCES if m.startswith("fastinit.cli.")}
    runnable = {m.rpartition(".")[2] for m, text in own.items() if "def run(arguments: Namespace)" in text}
    assert runnable - {"distributed"} == set(choices)  # that one is init's, under torchrun


def test_one_file_knows_dtensors() -> None:
    """And the run under torchrun, which makes them."""
    knowing = {m for m in SOURCES if any(i.startswith("torch.distributed.tensor") for i in imports(m))}
    assert knowing <= {"fastinit.cli.distributed"}  # dtensor.py looks into sys.modules, and imports nothing


def test_imports_make_no_circle() -> None:
    graph = {module: {m for m in imports(module, everywhere=False) if m in SOURCES} for module in SOURCES}
    while leaves := {module for module, below in graph.items() if not below}:
        graph = {module: below - leaves for module, below in graph.items() if module not in leaves}
    assert not graph


def python(code: str, folder: Path) -> str:
    """What a fresh interpreter prints, started in a folder from which this repository is not on the import path."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def processor_time(code: str, folder: Path) -> float:
    """What a fresh interpreter takes for it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    python(code, folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_import_is_light(tmp_path: Path) -> None:
    heavy = (
        "torch",
        "triton",
        "llvmlite",
        "torch.distributed.tensor",
        "torch._dynamo",
        "safetensors",
        "olmo_core",
        "scipy",
    )
    code = f"import sys, fastinit; print([m for m in {heavy} if m in sys.modules])"
    assert python(code, tmp_path) == "[]"


def test_import_is_quick(tmp_path: Path) -> None:
    """In seconds of the processor, the least of a few processes beyond an interpreter that imports nothing."""
    seconds = {code: min(processor_time(code, tmp_path) for _ in range(5)) for code in ("pass", "import fastinit")}
    assert seconds["import fastinit"] - seconds["pass"] <= LONGEST_IMPORT


@pytest.mark.parametrize("call", ["enable", "disable"])
def test_a_backend_s_import_leaves_the_collector_as_it_was(call: str, tmp_path: Path) -> None:
    code = f"import gc; gc.{call}(); from fastinit.backends import get; get('llvm'); print(gc.isenabled())"
    assert python(code, tmp_path) == str(call == "enable")


def test_kernels_is_no_package_of_its_own(tmp_path: Path) -> None:
    code = "import importlib.util as u; found = u.find_spec('kernels'); print(found and found.origin)"
    assert not python(code, tmp_path).startswith(str(ROOT))
    assert python("import fastinit.kernels as k; print(k.__name__)", tmp_path) == "fastinit.kernels"


def test_version_is_that_of_the_distribution() -> None:
    assert metadata.version("fastinit-torch") == fastinit.__version__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what it is made of, without a network."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("fastinit", "kernels", "examples"):  # the last is not to be in it
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*ROOT.glob("*.md"), ROOT / "pyproject.toml", ROOT / "LICENSE"):
        shutil.copy(path, copy)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
        "-w",
        "out",
        ".",
    ]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (copy / "out").glob("*.whl")
    return built


def test_wheel_holds_every_source(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {module.replace(".", "/") + ".py" for module in SOURCES}
    page = {f"fastinit/cli/page/{path.name}" for path in (ROOT / "fastinit" / "cli" / "page").iterdir()}
    assert len(page) == 5
    assert names == expected | page | {f"fastinit/model/presets/{name}.json" for name in presets()} | {
        "fastinit/py.typed"
    }


def test_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size <= LARGEST_WHEEL


def test_wheel_works_where_it_is_unpacked(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import fastinit, fastinit.kernels, fastinit.model.presets
print(fastinit.__file__, fastinit.kernels.__file__, *fastinit.model.presets.presets())
"""
    files = [str(tmp_path / "fastinit/__init__.py"), str(tmp_path / "fastinit/kernels/__init__.py")]
    assert python(code, tmp_path).split() == [*files, *presets()]


def test_licence_is_in_the_wheel(wheel: Path) -> None:
    (licence,) = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("licenses/LICENSE")]
    assert b"Apache License" in zipfile.ZipFile(wheel).read(licence)


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("fastinit/a.py", "import kernels", "import fastinit.kernels"),
        ("bench/a.py", "from kernels.philox import philox", "import fastinit.kernels"),
        ("tests/test_a.py", "import torch\ntorch.allclose(1, 2)", "allclose(...) is dropped"),
        ("tests/test_a.py", "x.equal(y)", "equal(...) is dropped"),
        ("tools/a.py", "np.array_equal(x, y)", "array_equal(...) is dropped"),
        ("tests/test_a.py", "torch.testing.assert_close(x, y, rtol=1e-3, atol=BUDGET)", "rtol= wants"),
        ("tests/test_a.py", "assert x == pytest.approx(y, abs=2**-3)", "abs= wants"),
        ("tests/__init__.py", "", "tests/ is no package"),
        ("kernels/a.py", "# TO" + "DO: faster", "unfinished work"),
    ],
)
def test_lint_finds(path: str, text: str, message: str) -> None:
    (found,) = lint.breaches(Path(path), text)
    assert message in found[1]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("fastinit/a.py", "from .kernels import philox\nimport fastinit.kernels"),
        ("tests/test_a.py", "assert torch.equal(x, y)"),
        ("tests/test_a.py", "torch.testing.assert_close(x, y, rtol=0, atol=0)"),
        ("tests/test_a.py", "torch.testing.assert_close(x, y, rtol=BUDGET, atol=0)"),
        ("tests/test_a.py", "x.equal_shape(y)"),
    ],
)
def test_lint_lets_pass(path: str, text: str) -> None:
    assert list(lint.breaches(Path(path), text)) == []
