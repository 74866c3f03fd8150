"""The pages: their code runs and prints what they say, their links lead somewhere, and every public name has its place."""

import importlib.util
import re
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType

import frameworks  # noqa: F401  imports timm, for its page, without torchvision
import pytest
import torch
import transformers

import fastinit
from fastinit.__main__ import parser

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if not path.is_symlink())
TEXTS = [*PAGES, *ROOT.glob("*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
QUOTED = re.compile(r"^```.*?^```|`[^`]+`", re.MULTILINE | re.DOTALL)


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
    """One after the other, in one namespace, as a reader would run them; a comment behind a print is what it prints."""
    monkeypatch.chdir(tmp_path)
    names = {}
    for number, block in enumerate(blocks(page)):
        with redirect_stdout(StringIO()) as printed:
            exec(compile(block, f"{name(page)}, program {number}", "exec"), names)
        assert printed.getvalue().splitlines() == PRINTED.findall(block)


def test_the_code_of_the_readme_runs(monkeypatch):
    """With a model that is small, and on no GPU."""
    small = transformers.DeepseekV3Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        first_k_dense_replace=1,
        num_attention_heads=2,
        n_routed_experts=4,
        n_group=2,
        topk_group=1,
        num_experts_per_tok=2,
        q_lora_rank=8,
        kv_lora_rank=8,
    )
    asked = []
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda name: asked.append(name) or small)
    names = {"w": torch.zeros(4, 64, 32)}
    with redirect_stdout(StringIO()):
        for number, block in enumerate(blocks(ROOT / "README.md")):
            exec(compile(block.replace('"cuda"', '"cpu"'), f"README.md, program {number}", "exec"), names)
    assert asked == ["deepseek-ai/DeepSeek-V3"]
    assert fastinit.verify_model_(names["model"], names["recipe"], seed=0)
    assert names["w"].count_nonzero() == names["w"].numel()
    assert names["init"] is fastinit.init


@pytest.mark.parametrize("page", TEXTS, ids=name)
def test_no_power_is_read_as_bold(page):
    """Two of them, as 2**31, in one paragraph are asterisks that make bold what is between them."""
    paragraphs = re.split(r"\n\n|\n- |\n\|", QUOTED.sub("", page.read_text("utf-8")))
    assert not [text for text in paragraphs if len(re.findall(r"\w\*\*\w", text)) > 1]


@pytest.fixture
def markdown(monkeypatch):
    """That of docs/docstrings.py, which imports the site's reader of docstrings for the name of a class alone."""
    monkeypatch.setitem(sys.modules, "griffe", ModuleType("griffe"))
    monkeypatch.setattr(sys.modules["griffe"], "Extension", object, raising=False)
    monkeypatch.setattr(sys.modules["griffe"], "Object", object, raising=False)
    found = importlib.util.spec_from_file_location("docstrings", ROOT / "docs" / "docstrings.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.markdown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("narrower than 2**-94, of 2**32 parts", "narrower than 2<sup>-94</sup>, of 2<sup>32</sup> parts"),
        ("in ``[0, 2**64)``, **each rank** has", "in ``[0, 2**64)``, **each rank** has"),
        ("see :func:`fastinit.keyed` and :class:`~a.b.C`", "see `keyed` and `C`"),
        (
            "Args:\n    a, b: the interval;\n        closed.\n    c: no.\n\nRaises:\n    A, B: for x.",
            "Args:\n    a: the interval;\n        closed.\n    b: see ``a``.\n    c: no.\n\nRaises:\n    A, B: for x.",
        ),
        ("A.\n\n>>> 2**3  # doctest: +SKIP\n8\n\nB.", "A.\n\n```pycon\n>>> 2**3\n8\n```\n\nB."),
    ],
)
def test_a_docstring_as_markdown(markdown, text, expected):
    assert markdown(text) == expected


def test_the_citation_is_of_this_version():
    """And of the day that the changelog has."""
    cited = dict(
        re.findall(r"^(version|date-released): (\S+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    )
    released = re.search(r"^## \[(\S+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert cited == {"version": fastinit.__version__, "date-released": released[2]}
    assert released[1] == fastinit.__version__


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
