"""Arguments that are none are named, before anything is written; and numbers are taken of all kinds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from filled import KEY
from test_model import DIM, Model, assert_untouched, poisoned
from torch import nn

import fastinit
from fastinit import Key, LocalShard, foreach_fill_, init_model_, verify_model_
from fastinit.law.distributions import Normal
from fastinit.model.roles import Role

NAMED: dict[str, list[Any]] = {
    "std": [None, "x", -1, float("nan"), float("inf")],
    "embedding_std": ["x", -1, float("nan"), float("inf")],
    "d_model": ["8", [8], 10**400],
    "num_blocks": ["a", torch.tensor([1, 2]), float("inf")],
    "embed_scale": ["a", 0, -1.0, float("inf"), float("nan")],
    "roles": [None, 3, [1], [("a",)], {"a": Role.NORM}, ("a", Role.NORM), [("a", Role.NORM, 3)], "a"],
    "shards": [3, [1], {"norm.weight": 3}, {3: LocalShard((8,), (0,))}],
    "device": ["foo", 3.5],
}


@pytest.mark.parametrize("method", ["normal", "fan_in"])
@pytest.mark.parametrize("name", NAMED)
def test_what_a_model_cannot_be_filled_by_is_named(name: str, method: str) -> None:
    """Whether or not the method asks for it."""
    model = poisoned(Model())
    for value in NAMED[name]:
        with pytest.raises((TypeError, ValueError), match=f"^{name}: expected "):
            init_model_(model, method, **{name: value})
    assert_untouched(model)


@pytest.mark.parametrize("size", [np.int64(DIM), torch.tensor(DIM), float(DIM)])
def test_sizes_of_all_kinds(size: Any) -> None:
    assert init_model_(Model(), "llama", d_model=size).rows == init_model_(Model(), "llama", d_model=DIM).rows


@pytest.mark.parametrize(
    ("name", "given"),
    [("tensors", None), ("laws", None), ("laws", 3), ("keys", None), ("keys", KEY), ("shards", 3)],
)
def test_what_is_no_list_is_named(name: str, given: Any) -> None:
    tensor = torch.full((3,), 7.0)
    arguments = dict(tensors=[tensor], laws=Normal(), keys=[KEY]) | {name: given}
    with pytest.raises(TypeError, match=f"^{name}: expected a list, got "):
        foreach_fill_(**arguments)
    assert (tensor == 7).all()


@pytest.mark.parametrize("scale", [0, -1.0, float("inf"), float("nan")])
def test_a_scale_that_cannot_be_divided_by_is_refused(scale: float) -> None:
    module = poisoned(nn.Embedding(3, 4))
    with pytest.raises(ValueError, match=r"^embed_scale: expected a finite number > 0, got "):
        fastinit.InitMethod.fan_in.init_embeddings(module, d_model=4, embed_scale=scale)
    model = poisoned(Model())
    model.embed_scale = scale  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"^embed_scale: expected a finite number > 0 from Model.embed_scale"):
        init_model_(model, "fan_in")
    assert_untouched(module)
    assert_untouched(model)


@pytest.mark.parametrize("shape", [8, (8.0,), None, "ab"])
def test_shapes_of_whole_numbers(shape: Any) -> None:
    with pytest.raises(TypeError, match=r"^global_shape: expected a tuple of whole numbers, got "):
        LocalShard(shape, (0,))
    with pytest.raises(TypeError, match=r"^global_offset: expected a tuple of whole numbers, got "):
        LocalShard((8,), shape)


@pytest.mark.parametrize(("vocab", "size", "multiple"), [(8, 0, 128), (8, 1, 0), (-8, 1, 128), (8, -1, 128)])
def test_vocabularies_that_cannot_be_split(vocab: int, size: int, multiple: int) -> None:
    with pytest.raises(ValueError, match=r"^vocab, size, multiple: expected numbers >= 0, 1 and 1, got "):
        LocalShard.vocab_parallel(vocab, 8, 0, size, multiple=multiple)


@pytest.mark.parametrize("function", [init_model_, verify_model_])
def test_what_is_no_model(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"^model: expected a torch\.nn\.Module, got list"):
        function([1], "llama")


@pytest.mark.parametrize("name", [None, b"x", 3])
def test_names_are_text(name: Any) -> None:
    with pytest.raises(TypeError, match=r"^name: expected a parameter's name, a str, got "):
        Key.of(name)


@pytest.mark.parametrize("five", [np.int64(5), np.uint8(5), torch.tensor(5), np.array(5)])
def test_integers_of_all_kinds(five: Any) -> None:
    key = Key(five, stream=five)
    assert key == Key(5, 5)
    assert (type(key.seed), type(key.stream)) == (int, int)
    assert Key.of("w", seed=five) == Key.of("w", seed=5)
    model = Model()
    report = init_model_(model, "llama", seed=five)
    assert report.to_json() == init_model_(Model(), "llama", seed=5).to_json()
    assert verify_model_(model, "llama", seed=five)


@pytest.mark.parametrize(
    "wrong", [True, np.True_, torch.tensor(True), 5.0, np.float64(5), torch.tensor(5.0), "5", None]
)
def test_what_is_no_integer(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^seed: expected an int in \[0, 2\*\*64\), got "):
        Key(wrong)
    with pytest.raises(TypeError, match=r"^stream: expected an int in"):
        Key(0, wrong)
