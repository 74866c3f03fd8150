"""A recipe as an object and as a file: it prints, compares, is copied, and what is no recipe is one kind of error."""

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import fastinit
from fastinit.law.distributions import TruncatedNormal, Uniform
from fastinit.law.transformed import Constant
from fastinit.model.tiles import Tile
from fastinit.recipe.entries import Entry
from fastinit.version import STREAM_VERSION


class Model(nn.Module):
    """A parameter of each kind that is data."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        for name in ("law", "constant", "boxes", "infinite", "log", "step"):
            self.register_parameter(name, nn.Parameter(torch.full((4, 6), math.nan, device=device)))
        self.head = nn.ParameterList([self.law])

    def init_weights(self) -> None:
        with torch.no_grad():
            self.law.normal_(0.0, 0.02)
            self.constant.fill_(0.1)
            self.boxes.uniform_(-1.0, 1.0)[2].zero_()
            self.infinite.uniform_(-1.0, 1.0).erfinv_().mul_(0.5)
            self.log.uniform_(1.0, 16.0).log_()
            steps = torch.exp(torch.rand(4, 6) * (math.log(0.1) - math.log(0.001)) + math.log(0.001)).clamp(min=0.002)
            self.step.copy_(steps + torch.log(-torch.expm1(-steps)))


class Derived(Model):
    """With one that is computed."""

    def init_weights(self) -> None:
        super().init_weights()
        with torch.no_grad():
            self.constant.copy_(torch.randn(4, 6).tril() @ torch.eye(6))


RECIPE = fastinit.record(Model("meta"))
DERIVED = fastinit.record(Derived("meta"))


def saved(recipe: fastinit.Recipe, path: Path) -> dict[str, Any]:
    recipe.save(path)
    return json.loads(path.read_text())


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    content = saved(RECIPE, path)
    assert (content["fastinit_recipe"], content["stream_version"]) == (1, STREAM_VERSION)
    loaded = fastinit.Recipe.load(path)
    assert loaded == RECIPE
    assert not loaded.diff(RECIPE)
    assert str(loaded) == str(RECIPE)
    assert loaded["infinite"].tiles[0].law == TruncatedNormal(0.0, 0.5 * math.sqrt(0.5), -math.inf, math.inf)
    one, two = Model(), Model()
    fastinit.init_model_(one, RECIPE, seed=1)
    fastinit.init_model_(two, loaded, seed=1)
    assert fastinit.verify_model_(one, loaded, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_a_recipe_is_a_sequence_by_name() -> None:
    assert len(RECIPE) == len(list(RECIPE)) == 6
    assert [entry.name for entry in RECIPE] == ["law", "constant", "boxes", "infinite", "log", "step"]
    assert RECIPE["head.0"] is RECIPE["law"]
    assert RECIPE["law"].tied == ("head.0",)
    with pytest.raises(KeyError, match="none"):
        RECIPE["none"]
    assert RECIPE.kinds() == {"law": 4, "constant": 1, "laws by box": 1}
    assert DERIVED.kinds() == {"law": 4, "derived": 1, "laws by box": 1}
    assert fastinit.Recipe("Empty", "nothing", ()).kinds() == {}


def test_a_recipe_prints_a_row_a_parameter() -> None:
    lines = str(RECIPE).splitlines()
    assert lines[0] == "Model by init_weights: 6 parameters, 4 law, 1 constant, 1 laws by box"
    assert [line.split()[0] for line in lines[1:]] == ["parameter", *(entry.name for entry in RECIPE)]
    assert "[0:2] uniform in [-1, 1], [2:3] constant 0, [3:4] uniform in [-1, 1]" in lines[4]
    assert str(fastinit.Recipe("Empty", "nothing", ())).splitlines()[0] == "Empty by nothing: 0 parameters, none"
    drew = fastinit.Recipe("M", "i", (), (("aten.randperm.default", 2),))
    assert str(drew).splitlines()[-1] == "aten.randperm.default drew 2 times from torch's generators"


def test_names_end_no_line() -> None:
    """Names that somebody else chose are quoted where they are printed, and are themselves in the file."""
    name = "w\n\x1b[2J all is well"
    tile = Tile((0,), (4,), Uniform(), name, fastinit.LocalShard((4,), (0,)))
    recipe = fastinit.Recipe("M\r", "i\x00", (Entry(name, (), (4,), (tile,)),))
    assert not set(str(recipe)) & {"\x1b", "\r", "\x00"}
    assert len(str(recipe).splitlines()) == 3
    assert str(recipe.diff(fastinit.Recipe("M", "i", ()))) == r"'w\n\x1b[2J all is well': not in the other"


def test_names_of_any_letters_are_kept(tmp_path: Path) -> None:
    name = "w\n\x1b[2J \u00fc\u4e16"
    tile = Tile((0,), (4,), Uniform(), name, fastinit.LocalShard((4,), (0,)))
    recipe = fastinit.Recipe("M", "i", (Entry(name, (), (4,), (tile,)),))
    recipe.save(tmp_path / "r")
    assert fastinit.Recipe.load(tmp_path / "r") == recipe


def test_what_differs_is_said() -> None:
    other = {entry.name: entry for entry in RECIPE}
    law, boxes = other["law"], other["boxes"]
    other["law"] = Entry("law", (), law.shape, (Tile((0, 0), (4, 6), Constant(1.0), "law", law.tiles[0].shard),))
    other["boxes"] = Entry("boxes", (), (4, 6), boxes.tiles[::-1])
    other["more"] = Entry("more", (), (1,))
    del other["log"]
    difference = RECIPE.diff(fastinit.Recipe("Model", "init_weights", tuple(other.values())))
    assert difference
    assert list(difference.lines) == [
        "law: tied to ['head.0'], not []",
        "law: normal, std 0.02, not constant 1",
        f"boxes: {boxes.text()}, not {other['boxes'].text()}",
        "log: not in the other",
        "more: only in the other",
    ]
    assert not RECIPE.diff(RECIPE)
    assert str(RECIPE.diff(RECIPE)) == "the same laws"
    assert [line.split(":")[0] for line in RECIPE.diff(DERIVED).lines] == ["constant"]


def test_what_is_computed_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"recipe: expected laws to store.*record the recipe where it is used: constant$"
    ):
        DERIVED.save(tmp_path / "r")
    assert not list(tmp_path.iterdir())


def test_two_versions(tmp_path: Path) -> None:
    path = tmp_path / "r"
    content = saved(RECIPE, path)
    for changed in ({"fastinit_recipe": 2}, {"stream_version": STREAM_VERSION + 1}):
        path.write_text(json.dumps({**content, **changed}))
        with pytest.raises(
            ValueError, match=f"got .*r: ValueError: expected format 1 of stream version {STREAM_VERSION}"
        ):
            fastinit.Recipe.load(path)
    with pytest.raises(FileNotFoundError):
        fastinit.Recipe.load(tmp_path / "none")


WRONG = {
    "a tile twice": ("boxes", [0, 0]),
    "a part missing": ("boxes", [0, 1]),
    "a log of negative numbers": ("log", {"a": -1.0}),
    "a log of bounds that cross": ("log", {"a": 17.0}),
    "steps of nothing": ("step", {"low": 0.0}),
    "a floor below": ("step", {"floor": -1.0}),
    "no number": ("constant", {"value": "nan"}),
    "no law": ("law", {"law": "Cauchy"}),
    "a negative std": ("law", {"std": -1.0}),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_filled_is_not_loaded(name: str, tmp_path: Path) -> None:
    content, (parameter, change) = saved(RECIPE, tmp_path / "r"), WRONG[name]
    (row,) = (row for row in content["parameters"] if row["name"] == parameter)
    if isinstance(change, dict):
        row["tiles"][0] |= change
    else:
        row["tiles"] = [row["tiles"][k] for k in change]
    (tmp_path / "r").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"path: expected a recipe, got .*r: (ValueError: expected|KeyError|.*std: expected)"
    ):
        fastinit.Recipe.load(tmp_path / "r")


def places(content: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value of a file."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [at, *(place for key, value in inner for place in places(value, (*at, key)))]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes") / "recipe.json"


ODD = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 2**70, 1e308, math.nan, math.inf, "", "w", "nan", "inf", [], {}, [[]], [0, -1]]
    ),
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(), lambda e: st.lists(e) | st.dictionaries(st.text(), e)
    ),
)


@given(st.data())
def test_a_file_that_was_changed_is_a_recipe_or_an_error(file: Path, data: st.DataObject) -> None:
    """What loads can be printed, compared, saved and used for a plan."""
    content = saved(RECIPE, file)
    at = data.draw(st.sampled_from(places(content)))
    if not at:
        content = data.draw(ODD)
    else:
        inside = content
        for key in at[:-1]:
            inside = inside[key]
        if data.draw(st.booleans()):
            inside[at[-1]] = data.draw(ODD)
        else:
            del inside[at[-1]]
    file.write_text(json.dumps(content))
    check(file)


@given(st.binary(max_size=40) | st.text(alphabet='[]{}":,0-e', max_size=40).map(str.encode))
def test_bytes_are_no_recipe(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    check(file)


def loaded_from(file: Path) -> fastinit.Recipe | ValueError:
    try:
        return fastinit.Recipe.load(file)
    except ValueError as error:
        return error


def check(file: Path) -> None:
    loaded = loaded_from(file)
    if isinstance(loaded, ValueError):
        assert str(loaded).startswith("path: expected a recipe, got ")
        assert file.name in str(loaded)
        assert len(str(loaded).splitlines()) == 1
        return
    assert str(loaded)
    loaded.diff(RECIPE)
    loaded.kinds()
    loaded.save(file)
    assert fastinit.Recipe.load(file) == loaded
    model = Model().double()  # whose numbers are those of a file
    try:
        fastinit.init_model_(model, loaded)
    except ValueError:  # other names or shapes: nothing is written
        assert all(w.isnan().all() for w in model.parameters())


def test_copies() -> None:
    """Of recipes, with what is computed too, and of reports."""
    for recipe in (RECIPE, DERIVED):
        for copied in (copy.deepcopy(recipe), copy.copy(recipe), pickle.loads(pickle.dumps(recipe))):
            assert not copied.diff(recipe)
            assert str(copied) == str(recipe)
            one, two = Model(), Model()
            reports = [fastinit.init_model_(one, recipe, seed=5), fastinit.init_model_(two, copied, seed=5)]
            assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
            assert str(reports[0]) == str(reports[1])
            for report in (copy.deepcopy(reports[0]), pickle.loads(pickle.dumps(reports[0]))):
                assert str(report) == str(reports[0])
                assert report.to_json() == reports[0].to_json()
