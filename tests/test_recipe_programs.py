"""Any program of writes: recorded = keyed = what torch makes of the same numbers."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fastinit
from fastinit.recipe.hooks import recording
from fastinit.recipe.replay import _Replay
from fastinit.recipe.tape import Tape
from fastinit.recipe.values import Leaf, Read

Program = list[tuple[str, tuple[int, ...]]]
SHAPES = ((4, 6), (6, 4), (24,), (2, 3, 4))
steps = st.tuples(
    st.sampled_from(
        (
            "normal",
            "uniform",
            "zero",
            "scale",
            "shift",
            "copy",
            "rows",
            "columns",
            "cat",
            "stack",
            "join",
            "tril",
            "each",
        )
    ),
    st.tuples(*(st.integers(0, 11) for _ in range(4))),
)
programs = st.lists(steps, min_size=1, max_size=8)


class Model(nn.Module):
    """A few parameters of as many elements."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.all = nn.ParameterList(nn.Parameter(torch.full(shape, torch.nan, device=device)) for shape in SHAPES)


def view_of(tensor: Tensor, a: int, b: int) -> Tensor:
    """One of a tensor's views."""
    match a % 7:
        case 0:
            return tensor
        case 1:
            return tensor[b % tensor.shape[0] :]
        case 2:
            return tensor.transpose(0, -1)
        case 3:
            return tensor.view(-1)[b:]
        case 4:
            return tensor.chunk(2, dim=b % tensor.dim())[-1]
        case 5:
            return tensor.view(4, 6)[:, b % 3 :: 2]
    return tensor.view(3, 8)[b % 3]


def run(program: Program, model: Model) -> None:
    """Every parameter is written, and then what the program says."""
    tensors: list[Tensor] = list(model.all)
    with torch.no_grad():
        for tensor in tensors:
            tensor.zero_()
        for name, (a, b, c, d) in program:
            tensor, other = tensors[a % len(tensors)], tensors[b % len(tensors)]
            view = view_of(tensor, c, d)
            match name:
                case "normal":
                    view.normal_(1.0, 2.0)
                case "uniform":
                    view.uniform_(-1.0, 3.0)
                case "zero":
                    view.zero_()
                case "scale":
                    view.mul_(0.5 + d)
                case "shift":
                    view.add_(0.25 * d)
                case "copy":
                    tensor.copy_(other.clone().reshape(tensor.shape))
                case "rows":
                    tensor.view(-1)[d:].copy_(torch.randn(24)[: 24 - d])
                case "columns":
                    tensor.view(4, 6).t().copy_(view_of(other, 0, 0).reshape(6, 4).double())
                case "cat":
                    tensor.view(-1).copy_(torch.cat([torch.randn(c), other.flatten()[c:]]))
                case "stack":
                    tensor.view(2, 12).t().copy_(torch.stack([torch.rand(12), torch.zeros(12)], dim=1))
                case "join":
                    tensor.view(4, 6).copy_(torch.stack([torch.rand(4) for _ in range(6)]).t())
                case "tril":
                    tensor.view(4, 6).tril_(d - 2)
                case "each":
                    torch._foreach_mul_([view, torch.ones(2)], 0.5)


def recorded(program: Program) -> fastinit.Recipe:
    """On the meta device."""
    return fastinit.record(Model("meta"), lambda model: run(program, model))


@settings(max_examples=40)
@given(programs)
def test_recorded_is_keyed(program: Program) -> None:
    one, two = Model(), Model()
    fastinit.init_model_(one, recorded(program), seed=3)
    with fastinit.keyed(two, seed=3):
        run(program, two)
    for left, right in zip(one.all, two.all, strict=True):
        assert torch.equal(left, right)


@settings(max_examples=60)
@given(programs)
def test_replayed_is_executed(program: Program) -> None:
    """An oracle: torch's draws get numbers by their order, and the tape's leaves the same ones."""
    values: dict[int, Tensor] = {}

    def fill(tensor: Tensor, leaf: Leaf, found: Any) -> None:
        generator = torch.Generator().manual_seed(leaf.order)
        values[leaf.order] = torch.randint(-8, 9, leaf.shape, generator=generator).float()
        tensor.copy_(values[leaf.order])

    class Same(_Replay):
        def _drawn(self, leaf: Leaf, law: Any) -> Tensor:
            scale, shift = _affine(leaf.law, law)
            return values[leaf.order].double() * scale + shift

    model, tape = Model(), Tape(fill)
    with recording(tape):
        run(program, model)
    for parameter in model.all:
        state, view = tape.storages.state_of(parameter)
        assert state is not None
        replayed = Same({}, 0).of(Read(state, view))
        torch.testing.assert_close(replayed.float(), parameter.detach(), **BUDGET)


BUDGET = {"rtol": 2.0**-20, "atol": 2.0**-20}  # eight steps, each rounded to fp32, of numbers that add up


def _affine(drawn: Any, law: Any) -> tuple[float, float]:
    """What was done to numbers of a law so that they follow another."""
    one, two = ((d.mean, d.std) if hasattr(d, "std") else (d.a, d.b - d.a) for d in (drawn, law))
    scale = two[1] / one[1]
    return scale, two[0] - one[0] * scale
