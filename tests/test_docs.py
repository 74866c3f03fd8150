"""The pages: their code runs, their links lead somewhere, and every public name has its place."""

import re
from pathlib import Path

import pytest

import fastinit
from fastinit.__main__ import parser

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if not path.is_symlink())
TEXTS = [*PAGES, *ROOT.glob("*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def name(path):
    return str(path.relative_to(ROOT))


def blocks(page):
    """The programs of a page; what is included is a file of examples/, which has a test of its own."""
    found = [
        re.sub(rf"^{match[1]}", "", match[2], flags=re.MULTILINE) for match in CODE.finditer(page.read_text("utf-8"))
    ]
    return [block for block in found if "--8<--" not in block]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """One after the other, in one namespace, as a reader would run them."""
    monkeypatch.chdir(tmp_path)
    names = {}
    for number, block in enumerate(blocks(page)):
        exec(compile(block, f"{name(page)}, program {number}", "exec"), names)


@pytest.mark.parametrize("page", TEXTS, ids=name)
def test_links_lead_somewhere(page):
    """To a file of ours; one to elsewhere is not followed, as the suite has no network."""
    for link in LINK.findall(page.read_text("utf-8")):
        if not link.startswith(("http://", "https://", "#")):
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_every_public_name_is_on_a_page():
    text = "\n".join(path.read_text("utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
    assert {public for public in fastinit.__all__ if not re.search(rf"\bfastinit\.{public}\b", text)} == set()
    called = {public for public in fastinit.init.__all__ if public.endswith("_") or public == "calculate_gain"}
    assert {public for public in called if not re.search(rf"\binit\.{public}(?!\w)", text)} == set()


def test_every_command_is_on_its_page():
    (choices,) = [action.choices for action in parser()._actions if action.dest == "command"]
    text = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    options = {
        option for command in choices.values() for action in command._actions for option in action.option_strings
    }
    assert {f"fastinit {command}" for command in choices if f"fastinit {command}" not in text} == set()
    assert {option for option in options if option.startswith("--") and option not in text} - {"--help"} == set()


def test_the_readme_s_first_table_is_on_its_first_screen_but_one():
    before = (ROOT / "README.md").read_text("utf-8").partition("\n|")[0]
    assert before.count("\n") <= 42
