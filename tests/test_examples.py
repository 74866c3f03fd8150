"""Every file of examples/: a script runs as it says and ends with an assertion, a notebook has the outputs that it stores."""

import ast
import json
import os
import re
from pathlib import Path

import pytest
from forked import Forked
from run_notebook import executed, text

FOLDER = Path(__file__).resolve().parent.parent / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LINES = 40
COMMAND = r"^{}: (?:torchrun --nproc-per-node (\d+)|python) examples/{}$"  # on which processor, which file

examples = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)


def ranks(path: Path, processor: str) -> int:
    """How many the docstring's command for a CPU, or for GPUs, starts; 1 is a plain Python command."""
    (found,) = re.findall(COMMAND.format(processor, re.escape(path.name)), docstring(path), re.MULTILINE)
    return int(found or 1)


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


@examples
def test_an_example_is_short_and_says_how_it_is_run(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LINES
    assert 1 <= ranks(path, "CPU") <= 4
    assert ranks(path, "GPU") >= ranks(path, "CPU")


@examples
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("example_ranks.py")
    arguments = map(str, (script, path, ranks(path, "CPU"), tmp_path))
    done = Forked(*arguments, environment=os.environ | {"OMP_NUM_THREADS": "1"}).wait(300)
    print(done.stdout)
    assert done.returncode == 0, done.stderr


@examples
def test_an_example_ends_with_an_assertion(path: Path) -> None:
    """Behind it the process group is left, and nothing else is done."""
    body = ast.parse(path.read_text("utf-8")).body
    if ast.unparse(body[-1]) == "dist.destroy_process_group()":
        body = body[:-1]
    while isinstance(body[-1], ast.For | ast.If):
        body = body[-1].body
    assert isinstance(body[-1], ast.Assert), ast.unparse(body[-1])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_gives_the_outputs_that_it_stores(path: Path) -> None:
    stored = path.read_text("utf-8")
    assert text(executed(json.loads(stored))) == stored


def test_every_example_is_in_the_list() -> None:
    listed = re.findall(r"^\| \[(\S+)\]\((\S+)\) \|", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted((path.stem, path.name) for path in SCRIPTS + NOTEBOOKS)
