"""What a launch costs: the host's time of a call, of many in a row, in a graph and in a list, and of the first of its kind."""

import time
from collections.abc import Callable

import torch

from bench import rows, small
from fastinit import Key, LocalShard, op
from gpu.fills import LAW, empty, fill, fill_list, keys
from gpu.here import Here
from gpu.steps.graphs import captured

ELEMENTS = 64


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    return {
        "the first fill": lambda: _first(here),
        "the thread's time of a call": lambda: _calls(here),
        "many in a row": lambda: _in_a_row(here),
    }


def _first(here: Here) -> dict:
    """In this process: once with what is on the disk from earlier steps, once with another tensor of the kind."""
    figures = {}
    for turn in ("first", "second"):
        tensor = empty(here, ELEMENTS)
        figures[f"{turn} fill, s"] = _until_done(lambda tensor=tensor: fill(tensor, Key(1)))
    return figures


def _calls(here: Here) -> dict:
    timings = small.timed(small.cases(here.device), here.sizes.rounds[1])
    found: list[rows.Row] = [small.row_of(case, provider, timing) for (case, provider), timing in timings.items()]
    figures = {f"{row['case']}, {row['provider']}, us": float(row["us"]) for row in found}
    return {**figures, "bench": {"small": found}}


def _in_a_row(here: Here) -> dict:
    """Microseconds of a fill, until the GPU has done the last."""
    number = here.sizes.launches
    tensors, own = [empty(here, ELEMENTS) for _ in range(number)], keys(number)
    plan = op.plan(tensors[0], LAW, LocalShard.whole((ELEMENTS,)))

    def one_by_one() -> None:
        for tensor, key in zip(tensors, own, strict=True):
            fill(tensor, key)

    def planned() -> None:
        for tensor, key in zip(tensors, own, strict=True):
            plan(tensor, key)

    def by_torch() -> None:
        for tensor in tensors:
            tensor.normal_(std=0.02)

    calls: dict[str, Callable[[], object]] = {
        "trunc_normal_": one_by_one,
        "its plan alone": planned,
        "foreach_fill_": lambda: fill_list(tensors, own),
        "Tensor.normal_": by_torch,
    }
    for call in calls.values():
        call()
    calls["trunc_normal_, as a CUDA graph"] = captured(one_by_one).replay
    seconds = {name: min(_until_done(call) for _ in range(3)) for name, call in calls.items()}
    return {f"{name}, us": round(taken / number * 1e6, 3) for name, taken in seconds.items()}


def _until_done(call: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - begin
