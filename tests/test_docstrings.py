"""Every example of a docstring that shows an answer gives it."""

import doctest
import importlib
import pkgutil
import re
import sys
from pathlib import Path
from types import FunctionType

import pytest
import torch

import fastinit

MODULES = [
    name for _, name, _ in pkgutil.walk_packages(fastinit.__path__, "fastinit.") if not name.endswith("__main__")
]
ALIASES = "fastinit.init.aliases"
API = Path(__file__).resolve().parent.parent / "docs" / "api"
FINDER = doctest.DocTestFinder(exclude_empty=True)


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """An example may write a file."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", MODULES)
def test_an_example_gives_the_answer_that_it_shows(name):
    module, said = importlib.import_module(name), []
    names = {"torch": torch, "fastinit": fastinit} | {name: getattr(fastinit, name) for name in fastinit.__all__}
    for found in FINDER.find(module, extraglobs=names):
        if any(example.want for example in found.examples):
            doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(found, out=said.append)
    assert not said, "".join(said)


def shown():
    """What the pages of the API show, by the names that they give it."""
    pages = "\n".join(path.read_text("utf-8") for path in API.glob("*.md"))
    return {name: pkgutil.resolve_name(name) for name in re.findall(r"^::: (\S+)$", pages, re.MULTILINE)}


def methods(name, value):
    """Those that a class has itself, properties among them, but none with an underscore."""
    kinds = (FunctionType, classmethod, staticmethod, property)
    own = [key for key, member in vars(value).items() if isinstance(member, kinds) and not key.startswith("_")]
    return {f"{name}.{key}": getattr(value, key) for key in own}


def public():
    """Every public name that is called, but for the deprecated ones of torch, which stand for those with an underscore."""
    found = {name: getattr(fastinit, name) for name in fastinit.__all__}
    found |= {f"init.{name}": getattr(fastinit.init, name) for name in fastinit.init.__all__}
    found = {name: value for name, value in found.items() if callable(value) and value.__module__ != ALIASES}
    found |= {name: value for name, value in shown().items() if all(value is not other for other in found.values())}
    for name, value in list(found.items()):
        if isinstance(value, type):
            found |= methods(name, value)
    return found


@pytest.mark.parametrize("name", public())
def test_a_public_name_has_an_example_that_runs(name):
    value, said = public()[name], []
    module = sys.modules[getattr(value, "fget", value).__module__]
    names = vars(module) | {"torch": torch, "fastinit": fastinit}
    (found,) = doctest.DocTestFinder(recurse=False).find(value, name, globs=names)
    assert found.examples
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(found, out=said.append)
    assert not said, "".join(said)
