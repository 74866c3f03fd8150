"""Names that differ between a recipe and a model: renamed, and fused parameters that have the bits of their parts."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fastinit
from fastinit.law.distributions import Normal, Uniform
from fastinit.recipe.aliases import Fused
from fastinit.recipe.names import renamer

PARTS: dict[str, tuple[int, ...]] = {
    "layers.0.wq": (8, 3),
    "layers.0.wk": (4, 3),
    "layers.0.wv": (4, 3),
    "layers.0.w1": (5, 3),
    "layers.0.w3": (5, 3),
    "layers.0.boxes": (6, 3),
    "layers.0.drawn": (5, 3),
    "layers.0.shared": (4, 3),
}


class Block(nn.Module):
    """Parameters of these names and shapes, on the CPU full of NaN."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], device: str = "cpu") -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name.split(".")[-1], nn.Parameter(torch.full(shape, torch.nan, device=device)))


class Model(nn.Module):
    """One layer."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]] = PARTS, device: str = "cpu") -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(shapes, device)])

    def init_weights(self) -> None:
        with torch.no_grad():
            for name, w in self.layers[0].named_parameters():
                w.normal_(0.0, 0.5)
                if name == "w3":
                    w.uniform_(-1.0, 1.0)
                if name == "boxes":
                    w[1].zero_()
                    w[2:5].uniform_()
                if name == "shared":
                    w.copy_(self.layers[0].get_parameter("wq")[3:7])
                if name == "drawn":
                    w.clamp_(-0.25, 0.25)


RECIPE = fastinit.record(Model(device="meta"))


def values(seed: int = 3) -> dict[str, Tensor]:
    """The parts of the model as it was recorded."""
    model = Model()
    fastinit.init_model_(model, RECIPE, seed=seed)
    return {name.split(".")[-1]: w.detach() for name, w in model.named_parameters()}


def fused(shape: tuple[int, ...], parts: Any, name: str = "layers.0.fused", **more: Any) -> Tensor:
    """A model with one parameter of that shape, filled and verified."""
    model, aliases = Model({name: shape}), {"layers.*.fused": parts}
    report = fastinit.init_model_(model, RECIPE, seed=3, aliases=aliases, **more)
    assert fastinit.verify_model_(model, RECIPE, seed=3, aliases=aliases, **more)
    assert not fastinit.verify_model_(model, RECIPE, seed=4, aliases=aliases, **more)
    assert len(report.rows) == 1
    return next(model.parameters()).detach()


W13 = ("layers.*.w1", "layers.*.w3")
QKV = ("layers.*.wq", "layers.*.wk", "layers.*.wv")
BOXES = ("layers.*.boxes", "layers.*.wq", "layers.*.wk")


def interleaved(dim: int, groups: int, *parts: Tensor) -> Tensor:
    """The first group of each part, then the second of each."""
    return torch.cat([torch.cat(group, dim) for group in zip(*(p.chunk(groups, dim) for p in parts), strict=True)], dim)


def expected_of(fusion: Fused) -> Tensor:
    parts = values()
    return interleaved(fusion.dim, fusion.groups, *(parts[name.split(".")[-1]] for name in fusion.parts))


FUSED = {
    "w13": Fused(W13),
    "w31": Fused(W13[::-1]),
    "w13 interleaved": Fused(W13, groups=5),
    "w13 as columns": Fused(W13, dim=1),
    "columns interleaved": Fused(W13, dim=1, groups=3),
    "wqkv": Fused(QKV),
    "wqkv of two heads": Fused(QKV, groups=2),
    "wqkv of four heads": Fused(QKV, groups=4),
    "laws by box": Fused(BOXES, groups=2),
    "a part of another's numbers": Fused(("layers.*.wk", "layers.*.shared"), groups=2),
}


@pytest.mark.parametrize("name", FUSED)
def test_a_fused_parameter_has_the_bits_of_its_parts(name: str) -> None:
    """Whole, and each box of it as a plain tensor of a rank."""
    fusion = FUSED[name]
    expected = expected_of(fusion)
    shape = tuple(expected.shape)
    assert torch.equal(fused(shape, fusion), expected)
    for dim, (first, size) in ((0, (1, shape[0] // 2)), (0, (shape[0] // 2, 3)), (1, (1, shape[1] - 1))):
        offset = tuple(first if d == dim else 0 for d in range(2))
        part = fused(
            tuple(size if d == dim else n for d, n in enumerate(shape)),
            fusion,
            shards={"layers.0.fused": fastinit.LocalShard(shape, offset)},
        )
        assert torch.equal(part, expected.narrow(dim, first, size))


def test_a_tuple_is_fused_by_rows() -> None:
    for parts in (W13, list(W13)):
        assert torch.equal(fused((10, 3), parts), expected_of(Fused(W13)))


def test_the_parts_are_told() -> None:
    model = Model({"layers.0.w13": (10, 3)})
    report = fastinit.init_model_(model, RECIPE, seed=0, aliases={"layers.*.w13": W13})
    assert report["layers.0.w13"].role == "shared"
    assert report["layers.0.w13"].note == "shares layers.0.w1, layers.0.w3's values"


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "rows": (
        ("layers.*.w1", "layers.*.wq"),
        ValueError,
        "parts that make up the shape .* along dimension 0, got layers",
    ),
    "columns": (Fused(("layers.*.w1", "layers.*.wq"), dim=1), ValueError, "parts that make up the shape"),
    "a dimension that is not there": (Fused(W13, dim=2), ValueError, "along dimension 2, got layers"),
    "a negative dimension": (Fused(W13, dim=-1), ValueError, "expected dim >= 0 for .*, got -1"),
    "a fraction of groups": (Fused(W13, groups=2.5), TypeError, "expected groups of .* to be an integer, got 2.5"),
    "a dimension by name": (Fused(W13, dim="rows"), TypeError, "expected dim of .* to be an integer, got 'rows'"),
    "a text of parts": (Fused("layers"), TypeError, "two names of parts or more"),
    "uneven groups": (Fused(W13, groups=2), ValueError, "sizes that 2 groups divide, got layers.0.w1, layers.0.w3"),
    "no groups": (Fused(W13, groups=0), ValueError, "expected groups >= 1 for 'layers.*.fused', got 0"),
    "computed": (("layers.*.w1", "layers.*.drawn"), ValueError, "that follow laws, got layers.0.drawn, which is comp"),
    "stars": (("layers.*.w1", "layers.*.*"), ValueError, "expected 1 stars in a name of a part, got 'layers"),
    "no stars": (("layers.0.w1", "w3"), ValueError, "expected 1 stars in a name of a part, got 'layers.0.w1'"),
    "unknown": (("layers.*.w1", "layers.*.w9"), ValueError, "found none for these 1.*\n  layers.0.fused"),
    "one part": (("layers.*.w1",), TypeError, r"two names of parts or more for 'layers.\*.fused', got \('layers"),
    "a text": ("layers.*.w1", TypeError, "two names of parts or more"),
    "numbers": ((1, 2), TypeError, "two names of parts or more"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_fused(name: str) -> None:
    """Nothing is written."""
    parts, kind, message = WRONG[name]
    model = Model({"layers.0.fused": (10, 3)})
    for function in (fastinit.init_model_, fastinit.verify_model_):
        with pytest.raises(kind, match=message):
            function(model, RECIPE, aliases={"layers.*.fused": parts})
    assert all(w.isnan().all() for w in model.parameters())


def test_aliases_are_a_mapping() -> None:
    with pytest.raises(TypeError, match="aliases: expected the parts of each fused parameter by its name, got"):
        fastinit.init_model_(Model(), RECIPE, aliases=["layers.*.w13"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="two names of parts or more for 3"):
        fastinit.init_model_(Model(), RECIPE, aliases={3: W13})  # type: ignore[dict-item]


def test_a_name_is_mapped() -> None:
    """By a function, by a mapping of some names, and through wrappers."""
    shapes = {"a": (5, 3), "w3": (5, 3)}
    for rename in (
        lambda name: name.replace(".a", ".w1"),
        {"layers.0.a": "layers.0.w1"},
        {"layers.0.a": "_orig_mod.layers.0.w1"},
    ):
        model = Model(shapes)
        fastinit.init_model_(model, RECIPE, seed=3, rename=rename)
        assert fastinit.verify_model_(model, RECIPE, seed=3, rename=rename)
        assert [torch.equal(w, values()[name]) for name, w in zip(("w1", "w3"), model.parameters(), strict=True)] == [
            True,
            True,
        ]


def test_a_recipe_is_renamed_as_it_is_recorded() -> None:
    recipe = fastinit.record(Model(device="meta"), rename=lambda name: name.replace("layers.0", "layers.8"))
    assert [entry.name for entry in recipe] == [name.replace("0", "8", 1) for name in PARTS]
    one, two = Model({"w1": (5, 3)}), torch.empty(5, 3)
    fastinit.init_model_(one, recipe, rename={"layers.0.w1": "layers.8.w1"})
    fastinit.normal_(two, 0.0, 0.5, key=fastinit.Key.of("layers.8.w1", seed=0))
    assert torch.equal(next(one.parameters()), two)


@pytest.mark.parametrize("rename", [3, "w1", ["w1"]])
def test_what_maps_no_names(rename: Any) -> None:
    for call in (
        lambda: renamer(rename),
        lambda: fastinit.init_model_(Model(), RECIPE, rename=rename),
        lambda: fastinit.record(Model(device="meta"), rename=rename),
    ):
        with pytest.raises(TypeError, match="rename: expected a function of a name, or a mapping of names, got"):
            call()


@pytest.mark.parametrize("rename", [lambda name: None, dict.fromkeys(["layers.0.w1"], 7)])
def test_a_name_is_mapped_to_a_name(rename: Any) -> None:
    with pytest.raises(TypeError):
        fastinit.init_model_(Model({"w1": (5, 3)}), RECIPE, rename=rename)


REFUSED: dict[str, tuple[dict[str, tuple[int, ...]], dict[str, Any], str]] = {
    "names": ({"w1": (5, 3), "w8": (5, 3), "w9": (2,)}, {}, "found none for these 2.*\n  layers.0.w8\n  layers.0.w9$"),
    "shapes": ({"w1": (5, 3), "w3": (3, 5)}, {}, "shapes that were recorded.*\n  layers.0.w3 of 3x5, recorded as 5x3$"),
    "two of one": (
        {"w1": (5, 3), "w3": (5, 3)},
        {"rename": {"layers.0.w3": "layers.0.w1"}},
        "an entry for each parameter, got layers.0.w1 for layers.0.w1 and layers.0.w3",
    ),
    "std": ({"w1": (5, 3)}, {"std": 0.1}, "std: expected none with a recipe, which has the laws of all.*got 0.1"),
    "width": ({"w1": (5, 3)}, {"d_model": 8}, "d_model: expected none with a recipe.*got 8"),
    "roles": ({"w1": (5, 3)}, {"roles": [("w1", "bias")]}, "roles: expected none with a recipe"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_recipe_does_not_fit(name: str) -> None:
    shapes, arguments, message = REFUSED[name]
    model = Model(shapes)
    for function in (fastinit.init_model_, fastinit.verify_model_):
        with pytest.raises(ValueError, match=message):
            function(model, RECIPE, **arguments)
    assert all(w.isnan().all() for w in model.parameters())


def test_a_method_has_no_names_to_map() -> None:
    for argument in ({"rename": {}}, {"aliases": {}}):
        with pytest.raises(ValueError, match="expected none with a method, whose keys come from the model's own names"):
            fastinit.init_model_(Model(), "normal", **argument)
    with pytest.raises(TypeError, match=r"or a fastinit\.Recipe, got 3"):
        fastinit.init_model_(Model(), 3)  # type: ignore[arg-type]


def test_the_laws_are_those_of_the_parts() -> None:
    assert [RECIPE[name].tiles[0].law for name in ("layers.0.w1", "layers.0.w3")] == [Normal(0, 0.5), Uniform(-1, 1)]


def test_an_alias_of_a_name_that_the_recipe_has() -> None:
    """Either would do, with other values."""
    model = Model({"layers.0.w1": (10, 3)})
    message = "aliases: expected names that the recipe does not have, got layers.0.w1, which it has"
    for function in (fastinit.init_model_, fastinit.verify_model_):
        with pytest.raises(ValueError, match=f"^{message}$"):
            function(model, RECIPE, aliases={"layers.*.w1": ("layers.*.drawn", "layers.*.w3")})
    assert all(w.isnan().all() for w in model.parameters())


def test_the_first_pattern_that_matches_is_taken() -> None:
    model = Model({"layers.0.fused": (10, 3)})
    aliases = {"layers.0.fused": W13[::-1], "layers.*.fused": W13}
    with pytest.raises(ValueError, match="expected 0 stars in a name of a part"):
        fastinit.init_model_(model, RECIPE, seed=3, aliases=aliases)
    aliases["layers.0.fused"] = ("layers.0.w3", "layers.0.w1")
    fastinit.init_model_(model, RECIPE, seed=3, aliases=aliases)
    assert torch.equal(next(model.parameters()), expected_of(Fused(W13[::-1])))
