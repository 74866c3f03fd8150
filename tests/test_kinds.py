"""What is found out once for parameters that are alike: what may be wrong with one of them alone is found all the same."""

import gc
import os
import threading

import pytest
import torch
from torch import nn

from fastinit import init_model_
from fastinit.collector import paused
from fastinit.model.filling import fill_plan_
from fastinit.model.plan import plan_of
from fastinit.model.roles import Role
from fastinit.model.scheme import Scheme

ROLES = [("*.weight", Role.ROUTER)]


def alike() -> nn.ModuleDict:
    """Weights of one shape, dtype, device and law, all NaN."""
    model = nn.ModuleDict(
        {name: nn.Linear(4, 3, bias=False) for name in "abc"}
    )  # numbers would be blocks, with laws of their own
    for parameter in model.parameters():
        parameter.data.fill_(torch.nan)
    return model


def freed(model: nn.ModuleDict) -> None:
    model["b"].weight.untyped_storage().resize_(0)


def cut(model: nn.ModuleDict) -> None:
    model["b"].weight.untyped_storage().resize_(8)


def negated(model: nn.ModuleDict) -> None:
    model["b"].weight = nn.Parameter(torch._neg_view(torch.ones(3, 4)), requires_grad=False)


def integers(model: nn.ModuleDict) -> None:
    model["b"].weight = nn.Parameter(torch.ones(3, 4, dtype=torch.int32), requires_grad=False)


def placeholder(model: nn.ModuleDict) -> None:
    model["b"].weight = nn.Parameter(torch.empty(0))


def shared_with_the_first(model: nn.ModuleDict) -> None:
    rows = torch.full((4, 4), torch.nan)
    model["a"].weight, model["b"].weight = nn.Parameter(rows[:3]), nn.Parameter(rows[1:])


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (freed, ValueError, "b.weight: expected memory for 12 elements, got none"),
        (cut, ValueError, "b.weight: expected a storage of at least 48 bytes, got one of 8"),
        (negated, ValueError, "b.weight: expected one whose memory holds its values"),
        (integers, TypeError, "b.weight: expected dtype float32"),
        (placeholder, ValueError, "placeholders without any.*b.weight"),
        (shared_with_the_first, ValueError, "some that a.weight and b.weight both have"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_second_of_its_kind_is_looked_at_too(spoil, error, said):
    model = alike()
    spoil(model)
    with pytest.raises(error, match=said):
        init_model_(model, "normal", roles=ROLES)
    assert all(model[name].weight.isnan().all() for name in "ac"), "written before all was checked"


@pytest.mark.parametrize(
    ("spoil", "said"), [(freed, "got none"), (cut, "a storage of at least 48 bytes")], ids=["freed", "cut"]
)
def test_memory_that_is_lost_after_the_plan_is_not_written(spoil, said):
    model = alike()
    plan = plan_of(model, Scheme("normal", roles=ROLES))
    spoil(model)
    with pytest.raises(ValueError, match=rf"tensors\[1\]: .*{said}"):
        fill_plan_(plan)
    assert all(model[name].weight.isnan().all() for name in "ac"), "written before all was checked"


def test_memory_that_is_another_after_the_plan_is_filled():
    model, moved = alike(), alike()
    init_model_(model, "normal", roles=ROLES)
    plan = plan_of(moved, Scheme("normal", roles=ROLES))
    before = moved["b"].weight.data
    moved["b"].weight.data = torch.empty(3, 4)
    fill_plan_(plan)
    assert before.isnan().all()
    assert all(torch.equal(moved[name].weight, model[name].weight) for name in "abc")


def test_modules_that_name_their_own_parameters_are_asked():
    class Renamed(nn.Linear):
        def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
            for name, parameter in super().named_parameters(prefix, recurse, remove_duplicate):
                yield name.replace("weight", "kernel"), parameter

    model = nn.ModuleList([Renamed(4, 3, bias=False), nn.Linear(4, 3, bias=False)])
    report = init_model_(model, "normal", roles=[("*.{kernel,weight}", Role.ROUTER)])
    assert [row.name for row in report.rows] == ["0.kernel", "1.weight"]


def test_a_parameter_in_two_places_of_a_module_is_one():
    module = nn.Linear(4, 4, bias=False)
    module.again = module.weight
    (row,) = init_model_(nn.ModuleList([module]), "normal", roles=ROLES).rows
    assert (row.name, row.tied) == ("0.weight", ("0.again",))


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("raised", [None, KeyError, KeyboardInterrupt])
def test_the_collector_is_left_as_it_was(enabled, raised):
    def call() -> bool:
        if raised:
            raise raised
        return gc.isenabled()

    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        if raised:
            with pytest.raises(raised):
                paused(call)
        else:
            assert not paused(call)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_a_child_that_another_thread_forks_meanwhile_has_its_collector():
    """Not the thread that would switch it on again."""
    forked, begun = threading.Event(), threading.Event()

    def wait() -> bool:
        begun.set()
        return forked.wait()

    before = gc.isenabled()
    gc.enable()
    thread = threading.Thread(target=paused, args=[wait])
    thread.start()
    try:
        begun.wait()
        assert not gc.isenabled()
        child = os.fork()
        if child == 0:
            os._exit(0 if gc.isenabled() else 1)
        assert not gc.isenabled(), "a fork resumed it in the parent"
    finally:
        forked.set()
        thread.join()
        assert gc.isenabled()
        (gc.enable if before else gc.disable)()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
