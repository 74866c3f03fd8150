"""Fake tensors and default devices that have no memory: no key is drawn, and what has memory is filled as ever."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from filled import KEY, LAWS, assert_filled, fills, laws, on_a_cpu, same, through
from test_model import Model
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import fastinit
from fastinit import init_model_, verify_model_
from fastinit.law.distributions import TruncatedNormal
from fastinit.model.filling import fill_law_


@fills
@pytest.mark.parametrize("given", [None, 3])
def test_fake_tensors_need_no_key(fill_: Callable[..., Tensor], given: int | None) -> None:
    generator = None if given is None else torch.Generator().manual_seed(given)
    state = (generator or torch.default_generator).get_state()
    with FakeTensorMode():
        fake = torch.empty(4, 5)
        assert fill_(fake, generator=generator) is fake
    assert fill_(fake, generator=generator) is fake
    assert (generator or torch.default_generator).get_state().tolist() == state.tolist()


@laws
@pytest.mark.parametrize("kind", ["meta", "fake"])
def test_every_law_leaves_tensors_without_memory_alone(law: Any, kind: str) -> None:
    state = torch.get_rng_state()
    with FakeTensorMode() if kind == "fake" else torch.device("meta"):
        tensor = torch.empty(4)
        assert fill_law_(tensor, law) is tensor
    assert fill_law_(tensor, law, key=KEY) is tensor
    assert torch.get_rng_state().tolist() == state.tolist()


def test_a_trace_does_not_lose_a_fill() -> None:
    """Without a key it cannot be written down, and with one it is."""
    traced = make_fx(lambda tensor: fastinit.normal_(tensor, key=KEY), tracing_mode="fake")(torch.empty(4))
    assert "fastinit.fill_" in traced.code
    with pytest.raises(Exception, match=r"data|proxy|fake"):
        make_fx(lambda tensor: fastinit.normal_(tensor), tracing_mode="fake")(torch.empty(4))


def test_a_fake_model() -> None:
    with FakeTensorMode():
        model = Model()
        report = init_model_(model, "llama", seed=5)
        assert [row.law for row in report.rows] == [row.law for row in init_model_(Model(), "llama", seed=5).rows]
    with pytest.raises(ValueError, match=r"got fake parameters: tok_embeddings.weight, "):
        verify_model_(model, "llama", seed=5)


@contextmanager
def default_of_meta() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@on_a_cpu
@pytest.mark.parametrize("context", [lambda: torch.device("meta"), default_of_meta], ids=["context", "default"])
def test_a_default_device_elsewhere_changes_nothing(backend: str, context: Callable[[], Any]) -> None:
    kinds = [TruncatedNormal(0.0, s, a, b) for s, a, b in ((1.0, -3.0, 3.0), (1.0, -6.0, 6.0), (1.0, -1.0, 6.0))]
    kinds += [
        TruncatedNormal(0.0, 1.0, 6.0, 8.0),
        TruncatedNormal(0.0, 1.0, -0.1, 0.1),
        TruncatedNormal(0.0, 0.0, 0, 1),
    ]
    every = [*LAWS, *kinds]
    expected = [fill_law_(torch.empty(70, 3), law, key=KEY) for law in every]
    tensors = [torch.empty(70, 3) for _ in every]
    transposed = torch.empty(3, 70).T
    model = Model()
    with through(backend), context():
        for tensor, law in zip(tensors, every, strict=True):
            fill_law_(tensor, law, key=KEY)
        fastinit.normal_(transposed, key=KEY)
        init_model_(model, "llama", seed=5)
        assert verify_model_(model, "llama", seed=5)
    for tensor, truth in zip(tensors, expected, strict=True):
        same(tensor, truth)
    same(transposed, fastinit.normal_(torch.empty(70, 3), key=KEY))
    assert_filled(model)


@fills
def test_a_default_device_elsewhere_and_no_key(fill_: Callable[..., Tensor]) -> None:
    torch.manual_seed(3)
    expected = fill_(torch.empty(5))
    tensor = torch.empty(5)
    torch.manual_seed(3)
    with torch.device("meta"):
        fill_(tensor)
    same(tensor, expected)
