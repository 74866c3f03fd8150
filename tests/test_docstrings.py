"""Every example of a docstring that shows an answer gives it."""

import doctest
import importlib
import pkgutil
import sys

import pytest
import torch

import fastinit

MODULES = [
    name for _, name, _ in pkgutil.walk_packages(fastinit.__path__, "fastinit.") if not name.endswith("__main__")
]
ALIASES = "fastinit.init.aliases"
FINDER = doctest.DocTestFinder(exclude_empty=True)


@pytest.mark.parametrize("name", MODULES)
def test_an_example_gives_the_answer_that_it_shows(name):
    module, said = importlib.import_module(name), []
    names = {"torch": torch, "fastinit": fastinit} | {name: getattr(fastinit, name) for name in fastinit.__all__}
    for found in FINDER.find(module, extraglobs=names):
        if any(example.want for example in found.examples):
            doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(found, out=said.append)
    assert not said, "".join(said)


def public():
    """Every public name that is called, but for the deprecated ones of torch, which stand for those with an underscore."""
    found = {name: getattr(fastinit, name) for name in fastinit.__all__}
    found |= {f"init.{name}": getattr(fastinit.init, name) for name in fastinit.init.__all__}
    found["reference.philox4x32"] = fastinit.reference.philox4x32
    return {name: value for name, value in found.items() if callable(value) and value.__module__ != ALIASES}


@pytest.mark.parametrize("name", public())
def test_a_public_name_has_an_example_that_runs(name):
    value, said = public()[name], []
    names = vars(sys.modules[value.__module__]) | {"torch": torch, "fastinit": fastinit}
    (found,) = doctest.DocTestFinder(recurse=False).find(value, name, globs=names)
    assert found.examples
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(found, out=said.append)
    assert not said, "".join(said)
