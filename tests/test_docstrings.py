"""Every example of a docstring that shows an answer gives it."""

import doctest
import importlib
import pkgutil

import pytest
import torch

import fastinit

MODULES = [
    name for _, name, _ in pkgutil.walk_packages(fastinit.__path__, "fastinit.") if not name.endswith("__main__")
]
FINDER = doctest.DocTestFinder(exclude_empty=True)


@pytest.mark.parametrize("name", MODULES)
def test_an_example_gives_the_answer_that_it_shows(name):
    module, said = importlib.import_module(name), []
    names = {"torch": torch, "fastinit": fastinit} | {name: getattr(fastinit, name) for name in fastinit.__all__}
    for found in FINDER.find(module, extraglobs=names):
        if any(example.want for example in found.examples):
            doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(found, out=said.append)
    assert not said, "".join(said)
