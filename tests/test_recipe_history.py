"""A report tells every fill of a parameter, the last one as its law: what was tied or initialised twice is to be seen there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fastinit

Init = Callable[[Any], object]


class Model(nn.Module):
    """One parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(6, 4))


FILLS: dict[str, tuple[Init, str]] = {
    "once": (lambda w: w.normal_(), ""),
    "twice": (lambda w: (w.normal_(std=0.5), w.normal_(std=0.25)), "after normal, std 0.5"),
    "the same": (lambda w: (w.normal_(), w.normal_()), "after normal, std 1"),
    "more": (lambda w: (w.zero_(), w.uniform_(), w.normal_()), "after constant 0, then uniform in [0, 1]"),
    "a formula in place": (lambda w: (w.uniform_(), w.sub_(0.5), w.mul_(2)), ""),
    "a formula that is replayed": (lambda w: (w.normal_(), w.abs_(), w.cos_()), "derived from w"),
    "numbers that are worked on": (lambda w: (w.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0])), w.cos_()), "derived"),
    "a formula before": (lambda w: (w.normal_().abs_(), w.zero_()), "after abs([normal, std 1])"),
    "numbers given in Python": (
        lambda w: (w.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0])), w.zero_()),
        "after a tensor of shape (4,)",
    ),
    "parts on top": (lambda w: (w.normal_(), w[1].zero_()), ""),
    "parts that are all of it": (
        lambda w: (w.uniform_(), [part.normal_() for part in w.chunk(3)]),
        "after uniform in [0, 1]",
    ),
    "parts before": (
        lambda w: (w.uniform_(), w[:3].normal_(), w[3:].zero_(), w.fill_(1.0)),
        "after uniform in [0, 1], then normal, std 1 and constant 0",
    ),
    "a padding row before": (
        lambda w: (w.normal_(), w[1].zero_(), w.uniform_()),
        "after normal, std 1 and constant 0",
    ),
    "from a temporary": (lambda w: (w.normal_(), w.copy_(torch.rand(6, 4))), "after normal, std 1"),
}


def initialised(name: str) -> Init:
    def init(model: Any) -> None:
        with torch.no_grad():
            FILLS[name][0](model.w)

    return init


@pytest.mark.parametrize("name", FILLS)
def test_each_fill_is_told(name: str, tmp_path: Path) -> None:
    note, init = FILLS[name][1], initialised(name)
    recipe = fastinit.record(Model, init)
    assert recipe["w"].note == note
    assert note in str(recipe).splitlines()[2]
    filled = fastinit.init_model_(Model(), recipe)
    live = Model()
    with fastinit.keyed(live) as report:
        init(live)
    assert filled["w"].note == report["w"].note == note
    assert note in str(report)
    if recipe["w"].tiles:
        recipe.save(tmp_path / "r")
        assert fastinit.Recipe.load(tmp_path / "r") == recipe


def test_two_histories_are_no_difference() -> None:
    assert not fastinit.record(Model, initialised("once")).diff(fastinit.record(Model, initialised("the same")))


def test_the_order_of_a_tie_and_its_fills() -> None:
    """Of two fills of one matrix the last one is its law, whatever the name."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
            self.head.weight = self.embed.weight
            nn.init.normal_(self.embed.weight, std=0.02)
            nn.init.normal_(self.head.weight, std=0.5)

    _, report = fastinit.build(Tied)
    assert (report["embed.weight"].law.std, report["embed.weight"].note) == (
        0.5,
        "after normal, std 1, then normal, std 0.02",
    )
