"""Two tensors, one memory: tied where it is the same elements, refused where it is some of them, filled where it is none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from filled import KEY, assert_filled, filled, on_a_cpu, same, through
from test_model import DIM, Model, assert_untouched, poisoned
from torch import Tensor, nn

import fastinit
from fastinit import Key, foreach_fill_, init_model_, verify_model_
from fastinit.law.distributions import Normal
from fastinit.model.roles import Role


def tied_by_storage(model: Any) -> None:
    model.output.weight = nn.Parameter(model.tok_embeddings.weight.data)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_parameters_that_are_the_same_elements_are_tied(device: str) -> None:
    with torch.device(device):
        model = poisoned(Model())
        tied_by_storage(model)
    assert model.output.weight is not model.tok_embeddings.weight
    report = init_model_(model, "llama", seed=5, device="cpu")
    row = report["output.weight"]
    assert (row.name, row.tied, row.role) == ("tok_embeddings.weight", ("output.weight",), Role.EMBEDDING.value)
    assert model.output.weight.data_ptr() == model.tok_embeddings.weight.data_ptr()
    same(model.output.weight.detach(), filled().tok_embeddings.weight.detach())
    assert verify_model_(model, "llama", seed=5)


def overlapping_rows(model: Any) -> None:
    memory = torch.full((33, DIM), float("nan"))
    model.tok_embeddings.weight, model.output.weight = nn.Parameter(memory[:32]), nn.Parameter(memory[1:])


def transposed(model: Any) -> None:
    attention = model.layers["0"].attention
    attention.wq.weight = nn.Parameter(attention.wo.weight.data.T)


def of_another_dtype(model: Any) -> None:
    model.output.weight = nn.Parameter(model.tok_embeddings.weight.data.view(torch.bfloat16)[:, :DIM])


def norms_in_a_matrix(model: Any) -> None:
    model.norm.weight = nn.Parameter(model.output.weight.data[3])


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("change", "one", "other"),
    [
        (overlapping_rows, "tok_embeddings.weight", "output.weight"),
        (transposed, "layers.0.attention.wq.weight", "layers.0.attention.wo.weight"),
        (of_another_dtype, "tok_embeddings.weight", "output.weight"),
        (norms_in_a_matrix, "norm.weight", "output.weight"),
    ],
)
def test_parameters_that_overlap_are_refused(device: str, change: Callable[[Any], None], one: str, other: str) -> None:
    with torch.device(device):
        model = Model()
        change(model)
    model = poisoned(model)
    with pytest.raises(ValueError, match=f"got some that {one} and {other} both have"):
        init_model_(model, "llama", device="cpu")
    assert_untouched(model)
    if device == "meta":
        assert all(parameter.is_meta for parameter in model.parameters())


def test_parameters_that_are_parts_of_one_memory_are_filled() -> None:
    """A flat buffer, and halves of the columns of a matrix."""
    model = Model()
    buffer = torch.full((sum(p.numel() for p in model.parameters()),), float("nan"))
    wide = torch.full((DIM, 2 * DIM), float("nan"))
    offset = 0
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            view = buffer[offset : offset + parameter.numel()].view(parameter.shape)
            setattr(module, name, nn.Parameter(view))
            offset += parameter.numel()
    attention = model.layers["0"].attention
    attention.wq.weight, attention.wo.weight = nn.Parameter(wide[:, ::2]), nn.Parameter(wide[:, 1::2])
    init_model_(model, "llama", seed=5)
    assert_filled(model)


KEPT: dict[str, Callable[[Tensor], Tensor]] = {
    "of another shape": lambda weight: weight.view(-1),
    "in part": lambda weight: weight[3:5],
    "transposed": lambda weight: weight.T,
    "of another dtype": lambda weight: weight.view(torch.int32),
}


@pytest.mark.parametrize("case", KEPT)
@pytest.mark.parametrize("others", [0, 40])
def test_an_untouched_parameter_is_not_written_through_another_one(case: str, others: int) -> None:
    model = Model()
    for k in range(others):
        model.register_parameter(f"other{k}", nn.Parameter(model.output.weight.data.view(-1)[k : k + 9]))
    model.kept = nn.Parameter(KEPT[case](model.output.weight.data), requires_grad=False)
    with pytest.raises(ValueError, match=r"got some that (kept|other0) and output\.weight both have"):
        init_model_(poisoned(model), "llama", seed=5, roles=[("{kept,other*}", Role.UNTOUCHED)])
    assert_untouched(model)


def test_untouched_parameters_may_overlap_each_other() -> None:
    model = Model()
    memory = torch.full((40, 5), 7.0)
    views = [memory, memory.view(-1), memory.T, memory[3], *memory.view(-1).split(7)]
    for k, view in enumerate(views):
        model.register_parameter(f"kept{k}", nn.Parameter(view))
    init_model_(model, "llama", seed=5, roles=[("kept*", Role.UNTOUCHED)])
    assert (memory == 7).all()
    same(model.output.weight.detach(), filled().output.weight.detach())


SHARED: dict[str, Callable[[Tensor], list[Tensor]]] = {
    "twice": lambda m: [m, m],
    "a view of the whole": lambda m: [m, m.view(-1)],
    "a row of it": lambda m: [m[3], m],
    "transposed": lambda m: [m, m.T],
    "neighbours of a row": lambda m: [m[:5], m[4:]],
    "columns": lambda m: [m[:, :4], m[:, 3:]],
    "bits": lambda m: [m, m.view(torch.bfloat16)[:, :2]],
}


@pytest.mark.parametrize("case", SHARED)
@pytest.mark.parametrize("others", [0, 40])
def test_lists_that_share_memory_are_refused(case: str, others: int) -> None:
    matrix = torch.full((8, 8), 7.0)
    tensors = [*torch.full((others, 3), 7.0), *SHARED[case](matrix)]
    with pytest.raises(
        ValueError,
        match=rf"^tensors\[{others + 1}\]: expected memory of its own, got some that tensors\[{others}\] has",
    ):
        foreach_fill_(tensors, Normal(), keys=[KEY] * len(tensors))
    assert (matrix == 7).all()


@on_a_cpu
def test_lists_of_views_that_interleave_are_filled(backend: str) -> None:
    matrix = torch.empty(12, 40)
    views = [matrix[:6, ::2], matrix[:6, 1::2], *matrix[6:].split(2, dim=1), matrix[:0], matrix[:0]]
    keys = [Key(k) for k in range(len(views))]
    with through(backend):
        foreach_fill_(views, Normal(), keys=keys)
    for view, key in zip(views, keys, strict=True):
        same(view, fastinit.normal_(torch.empty(view.shape), key=key))
