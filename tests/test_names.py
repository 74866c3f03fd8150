"""The walk over a model: torch's own names in torch's order, and what names that differ in numbers alone have in common."""

from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fastinit.model.names import Like
from fastinit.model.roles import BUILT_IN, Patterns, Role
from fastinit.model.rules import METHODS, Sizes, asks_for_block, law_of
from fastinit.model.uses import CONFIG, LOCAL_EXPERTS, uses_of
from fastinit.model.walk import parameters_of
from fastinit.stream import Key, canonical_name, keys_of

PARTS = ("layers", "experts", "module", "_orig_mod", "0", "7", "07", "w")
names = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map(".".join)


def without_numbers(name: str) -> list[str]:
    return ["0" if part.isdecimal() else part for part in canonical_name(name).split(".")]


def block_of(name: str) -> int | None:
    """The first number of a name, but for an expert's."""
    before = ""
    for part in canonical_name(name).split("."):
        if part.isdecimal() and before != "experts":
            return int(part)
        before = part
    return None


@given(one=names, other=names)
def test_names_are_alike_where_they_differ_in_numbers_alone(one, other):
    kept = [name for name in (one, other) if set(name.split(".")) - {"module", "_orig_mod"}]
    root = Like()
    found = {name: root.of(name) for name in kept}
    assert all(place.block == block_of(name) for name, place in found.items())
    for first, second in product(kept, kept):
        same = without_numbers(first) == without_numbers(second)
        assert (found[first].like is found[second].like) == same


@st.composite
def models(draw: st.DrawFn, depth: int = 3) -> nn.Module:
    """Modules within modules, with wrappers' names among them, some of them twice."""
    module = nn.Module()
    for name in draw(st.lists(st.sampled_from(("w", "bias", "3")), max_size=2, unique=True)):
        module.register_parameter(name, draw(st.sampled_from((None, nn.Parameter()))))
    children: list[nn.Module | None] = [None]
    for name in draw(st.lists(st.sampled_from(PARTS[:6]), max_size=3 if depth else 0, unique=True)):
        child = draw(models(depth=depth - 1)) if draw(st.booleans()) else draw(st.sampled_from(children))
        children.append(child)
        module.add_module(name, child)
    return module


def by_torch(model: nn.Module) -> Iterator[tuple[int, int, str, str]]:
    for prefix, module in model.named_modules(remove_duplicate=False):
        for path, parameter in module.named_parameters(prefix, recurse=False):
            yield id(parameter), id(module), canonical_name(path), path


@given(model=models())
def test_uses_are_torchs(model):
    uses = uses_of(model).uses
    assert [(id(parameter), id(owner), name, path) for parameter, owner, name, path, _, _ in uses] == list(
        by_torch(model)
    )
    assert [block for *_, block in uses] == [block_of(name) for _, _, name, _ in by_torch(model)]
    likes: dict[Like, set[str]] = {}
    for _, _, name, _, like, _ in uses:
        likes.setdefault(like, set()).add(".".join(without_numbers(name)))
    assert sorted(map(len, likes.values())) == [1] * len(set().union(*likes.values()))


@given(model=models())
def test_every_class_and_all_that_tell_are_found(model):
    modules = list(model.modules())
    for number, module in enumerate(modules):
        if number % 2:
            setattr(module, (CONFIG, LOCAL_EXPERTS)[number // 2 % 2], 3)
    _, classes, telling = uses_of(model)
    assert classes == {nn.Module}
    assert set(map(id, telling)) == set(map(id, modules[1::2]))


class Told(nn.Module):
    """Of its class, or by its own __getattr__."""

    config = None


class Asked(nn.Module):
    def __getattr__(self, name):
        return 4 if name == LOCAL_EXPERTS else super().__getattr__(name)


class Named(nn.Module):
    """Its modules are found by names of its own."""

    def named_modules(self, memo=None, prefix="", remove_duplicate=True):
        yield f"{prefix}.renamed".removeprefix("."), self.inside


@pytest.mark.parametrize("kind", [Told, Asked])
def test_what_a_class_tells_is_asked_for(kind):
    model = nn.ModuleList([nn.Linear(2, 2), kind()])
    assert uses_of(model).telling == [model[1]]


def test_modules_with_names_of_their_own_are_walked_by_them():
    named = Named()
    named.inside = nn.Linear(2, 2, bias=False)
    named.inside.config = 5
    uses, classes, telling = uses_of(nn.ModuleList([named, nn.Linear(2, 2, bias=False)]))
    assert [(name, path, block) for _, _, name, path, _, block in uses] == [
        ("0.renamed.weight", "0.renamed.weight", 0),
        ("1.weight", "1.weight", 1),
    ]
    assert uses[0][4] is not uses[1][4]
    assert classes == {nn.ModuleList, Named, nn.Linear}
    assert telling == [named.inside]


def test_a_tied_parameter_has_the_place_of_its_first_name():
    model = nn.ModuleDict({"a": nn.ModuleList([nn.Linear(2, 2)]), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"][0].weight
    tied, *_ = parameters_of(model)
    assert (tied.name, tied.tied, tied.path, tied.tied_paths) == (
        "a.0.weight",
        ("b.weight",),
        "a.0.weight",
        ("b.weight",),
    )
    assert (tied.names, tied.paths, tied.block) == (("a.0.weight", "b.weight"), ("a.0.weight", "b.weight"), 0)


@given(names=st.lists(names, max_size=3), seed=st.integers(0, 2**64 - 1))
def test_many_keys_are_those_of_one_by_one(names, seed):
    kept = [canonical_name(f"w.{name}") for name in names]
    found = keys_of(kept, seed)
    assert found == [Key.of(name, seed) for name in kept]
    assert list(map(hash, found)) == [hash(Key.of(name, seed)) for name in kept]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("role", Role)
def test_a_law_asks_for_the_block_exactly_where_it_depends_on_it(method, role):
    """For its number, or to refuse one that is none of the model's."""

    def outcome(block: int | None) -> object:
        try:
            return law_of(method, role, Sizes(d_model=8, num_blocks=4, block=block, fan_in=8))
        except ValueError as error:
            return str(error)

    assert (len({outcome(block) for block in (None, 0, 3, 4)}) > 1) == asks_for_block(method, role)


def test_no_pattern_that_is_built_in_knows_numbers():
    """So that names which differ in numbers alone share a match."""
    assert not Patterns(set(), BUILT_IN).know_numbers
