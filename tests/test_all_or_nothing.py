"""What can fail is found before the first write: inference tensors, what cannot be filled, classes and devices that raise."""

import gc
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from filled import KEY, assert_filled, backends, laws, on_a_cpu, same, through
from test_model import Model, assert_untouched, poisoned
from torch import Tensor, nn

import fastinit
from fastinit import backends as backends_of_fastinit
from fastinit import foreach, foreach_fill_, init_linear, init_model_, verify_model_
from fastinit.backends import llvm
from fastinit.law.distributions import Normal, Uniform
from fastinit.model.filling import fill_law_
from fastinit.model.roles import Role


@on_a_cpu
def test_a_model_that_was_built_under_inference_mode(backend: str) -> None:
    with torch.inference_mode():
        model = Model()
    with through(backend):
        init_model_(model, "llama", seed=5)
        assert verify_model_(model, "llama", seed=5)
    assert_filled(model)


@backends
@laws
def test_inference_tensors(backend: str, law: Any) -> None:
    with torch.inference_mode():
        tensor, linear = torch.empty(4, 3), nn.Linear(3, 3)
    with through(backend):
        same(fill_law_(tensor, law, key=KEY), fill_law_(torch.empty(4, 3), law, key=KEY))
        if isinstance(law, Normal):
            foreach_fill_([tensor], Uniform(), keys=[KEY])
            same(tensor, fastinit.uniform_(torch.empty(4, 3), key=KEY))
        init_linear(linear)
    assert not linear.bias.any()
    assert tensor.is_inference()


class Raising(Tensor):
    """A class whose operators all raise, like one that somebody has not finished."""

    elem: Tensor

    @staticmethod
    def __new__(cls, elem: Tensor) -> "Raising":
        made = Tensor._make_wrapper_subclass(cls, elem.shape, dtype=elem.dtype, device=elem.device)  # type: ignore[attr-defined]
        made.elem = elem
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return cls(args[0].elem)
        raise NotImplementedError(f"no {func}")


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_class_whose_operators_raise_leaves_a_list_as_it_was(position: int) -> None:
    tensors = [torch.full((3,), 7.0), torch.full((3,), 7.0)]
    listed = [*tensors]
    listed.insert(position, Raising(torch.empty(3)))
    with pytest.raises(NotImplementedError, match=r"no fastinit\.fill_"):
        foreach_fill_(listed, Normal(), keys=[KEY] * 3)
    assert all((tensor == 7).all() for tensor in tensors)


@pytest.mark.parametrize("name", ["norm", "output"])
def test_a_class_whose_operators_raise_leaves_a_model_as_it_was(name: str) -> None:
    """A constant, and a random law."""
    model = poisoned(Model())
    part = model.get_submodule(name)
    shape = part.weight.shape  # type: ignore[union-attr]
    part.weight = nn.Parameter(Raising(torch.empty(shape)))  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match=r"no (fastinit\.fill_|aten\.fill_)"):
        init_model_(model, "llama")
    part.weight = nn.Parameter(torch.full(shape, float("nan")))  # type: ignore[arg-type]
    assert_untouched(model)


def test_an_interrupt_leaves_the_collector_on() -> None:
    disable = gc.disable

    def interrupted() -> None:
        disable()
        raise KeyboardInterrupt

    with mock.patch.object(gc, "disable", interrupted), pytest.raises(KeyboardInterrupt):
        backends_of_fastinit.get("reference")
    assert gc.isenabled()


def test_a_device_that_nothing_serves_is_refused_before_the_others_are_filled() -> None:
    tensors = [torch.full((3,), 7.0), torch.full((3,), 7.0)]

    def backend_for(device_type: str) -> Any:
        calls.append(device_type)
        if len(calls) == 2:
            raise NotImplementedError("no such device")
        return llvm

    calls: list[str] = []
    described = foreach.described

    def on_two_devices(*lists: Any) -> Any:
        ((device, plain, fills),) = described(*lists)
        return [(device, plain[k : k + 1], fills.of(np.array([k]))) for k in range(2)]

    with (
        mock.patch.object(foreach, "backend_for", backend_for),
        mock.patch.object(foreach, "described", on_two_devices),
        pytest.raises(NotImplementedError),
    ):
        foreach_fill_(tensors, Normal(), keys=[KEY, KEY])
    assert all((tensor == 7).all() for tensor in tensors)


def nested() -> Tensor:
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


def negated() -> Tensor:
    return torch.complex(torch.ones(3), torch.ones(3)).conj().imag


def freed() -> Tensor:
    tensor = torch.empty(3)
    tensor.untyped_storage().resize_(0)
    return tensor


class Own(Tensor):
    """A class of somebody's own that leaves operators alone."""


def cut(tensor: Tensor) -> Tensor:
    """As large as before by its shape, in a storage that is not."""
    tensor.untyped_storage().resize_(8)
    return tensor


UNFIT: dict[str, tuple[Callable[[], Tensor], type[Exception], str]] = {
    "nested": (nested, TypeError, r"expected a dense \(strided\) tensor, got a nested one"),
    "lazy": (lambda: nn.LazyLinear(3).weight, TypeError, "[Ll]azy"),
    "negated": (negated, ValueError, r"is_neg\(\)"),
    "freed": (freed, ValueError, "expected memory for 3 elements, got none"),
    "cut": (lambda: cut(torch.empty(3)), ValueError, "expected a storage of at least 12 bytes, got one of 8"),
    "cut columns": (lambda: cut(torch.empty(2, 3)[:, 1]), ValueError, "storage of at least 20 bytes, got one of 8"),
    "cut, of a class": (
        lambda: cut(torch.empty(3).as_subclass(Own)),
        ValueError,
        "storage of at least 12 bytes, got one of 8",
    ),
    "zeros": (lambda: torch._efficientzerotensor(3), ValueError, "expected memory for 3 elements, got none"),
    "sparse": (lambda: torch.ones(3).to_sparse(), TypeError, "expected a dense .* got layout torch.sparse_coo"),
}


@pytest.mark.parametrize("case", UNFIT)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:Lazy modules")
def test_tensors_that_cannot_be_filled(case: str) -> None:
    make, error, message = UNFIT[case]
    with pytest.raises(error, match=f"^tensor: .*{message}"):
        fastinit.normal_(make())
    for position in (0, 1):  # the first of its kind is checked by itself
        before = torch.full((3,), 7.0)
        tensors = [before, torch.full((3,), 7.0)]
        tensors.insert(position, make())
        with pytest.raises(error, match=rf"^tensors\[{position}\]: .*{message}"):
            foreach_fill_(tensors, Normal(), keys=[KEY] * 3)
        assert (before == 7).all()
    model = poisoned(Model())
    model.norm.weight = nn.Parameter(make()) if case != "lazy" else make()
    before = model.output.weight.detach().clone()
    with pytest.raises(error, match=message) as raised:
        init_model_(model, "llama")
    assert "norm.weight" in str(raised.value)
    assert model.output.weight.isnan().all()


def test_parameters_without_memory_are_not_one() -> None:
    """What has no address is not where the other one is."""
    model = Model()
    model.one, model.other = nn.Parameter(freed()), nn.Parameter(freed())
    rows = init_model_(model, "llama", roles=[("{one,other}", Role.UNTOUCHED)]).rows
    assert [(row.name, row.tied) for row in rows[:2]] == [("one", ()), ("other", ())]
