"""Parameters that hold one law, or one number, that no other has a part in: nearly all, told without taking any apart."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from fastinit.law.distributions import DISTRIBUTIONS, Distribution
from fastinit.law.transformed import Constant
from fastinit.recipe.boxes import View
from fastinit.recipe.pieces import reached_from
from fastinit.recipe.storages import Storages
from fastinit.recipe.values import Drawn, Leaf, Read, Same, State


class Single(NamedTuple):
    """What all of a parameter follows, and the numbers that were drawn into it, if any were."""

    law: Distribution | Constant
    leaf: Leaf | None


def singles(parameters: Iterable[Tensor], storages: Storages) -> list[Single | None]:
    """What each parameter holds; None for one that bind.py is to look at."""
    found: list[Single | None] = []
    parts: Counter[Leaf] = Counter()
    for parameter in parameters:
        state, view = storages.state_of(parameter)
        single = None if state is None or state.dtype != parameter.dtype else _single(state, view)
        found.append(single)
        if single is not None and single.leaf is not None:
            parts[single.leaf] += 1
        elif single is None and state is not None:
            parts.update({value.leaf for value in reached_from(Read(state, view)) if isinstance(value, Drawn)})
    return [
        None if single is not None and single.leaf is not None and parts[single.leaf] > 1 else single
        for single in found
    ]


def _single(state: State, view: View) -> Single | None:
    if state.before is not None or state.view != view or not all(view.strides):
        return None
    value = state.value
    if isinstance(value, Same):
        return Single(Constant(value.value), None)
    if (
        isinstance(value, Drawn)
        and value.view is None
        and value.law is value.leaf.law
        and isinstance(value.law, DISTRIBUTIONS)
    ):
        return Single(value.law, value.leaf)
    return None
