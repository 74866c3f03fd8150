"""Whole models by the number of their parameters: what the host spends on each, as plain tensors and as one rank's DTensors."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

import fastinit
from bench import rows
from bench.timing import Timing

METHOD = "normal"
EXPERTS = 256  # of three matrices a block, each a tensor of its own
SIZES = (1_000, 3_000, 10_000, 30_000, 70_000, 100_000)
KINDS = ("plain", "DTensor")
RANKS, RANK = 1024, 5
LOCAL = (2, 2)  # elements are not what is measured
CALLS_AT = 256  # experts; the number of calls a parameter is exact, so a small model tells it


class _Matrix(nn.Module):
    def __init__(self, parameter: Callable[[], nn.Parameter]) -> None:
        super().__init__()
        self.weight = parameter()


def moe(parameters: int, parameter: Callable[[], nn.Parameter]) -> nn.Module:
    """A model of about so many parameters, all of them experts, under their names in transformers."""

    def expert() -> nn.Module:
        return nn.ModuleDict({name: _Matrix(parameter) for name in ("gate_proj", "up_proj", "down_proj")})

    def block() -> nn.Module:
        return nn.ModuleDict({"mlp": nn.ModuleDict({"experts": nn.ModuleList(expert() for _ in range(EXPERTS))})})

    model = nn.Module()
    model.layers = nn.ModuleList(block() for _ in range(max(1, round(parameters / (3 * EXPERTS)))))
    return model


@contextmanager
def kind_of(kind: str) -> Iterator[Callable[[], nn.Parameter]]:
    """Makes parameters of a kind; DTensors are those of one rank of 1 024, whose process group is torch's fake one."""
    if kind == "plain":
        yield lambda: nn.Parameter(torch.empty(LOCAL))
        return
    dist.init_process_group("fake", store=FakeStore(), rank=RANK, world_size=RANKS)
    try:
        mesh = init_device_mesh("cpu", (RANKS,))

        def sharded() -> nn.Parameter:
            return nn.Parameter(DTensor.from_local(torch.empty(LOCAL), mesh, [Shard(0)], run_check=False))

        yield sharded
    finally:
        dist.destroy_process_group()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), metavar="N", help="parameters")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="print the rows, and append none")


def run(arguments: argparse.Namespace) -> int:
    rows.check("scale")
    shared = rows.environment(torch.device("cpu"))
    for kind in arguments.kinds:
        with kind_of(kind) as parameter:
            calls = calls_a_parameter(parameter)
            for size in arguments.sizes:
                row = measure(moe(size, parameter), kind, arguments.repeats) | calls
                print(
                    f"{kind:8}{int(row['parameters']):>8,} parameters: init_model_ {float(row['init_us']):>6.2f} us each "
                    f"({row['init_calls']} calls), verify_model_ {float(row['verify_us']):>6.2f} ({row['verify_calls']})",
                    flush=True,
                )
                if not arguments.dry:
                    rows.append("scale", [row | shared])
    return 0


def measure(model: nn.Module, kind: str, repeats: int) -> rows.Row:
    """The gate, which warms, then both in turn: microseconds of this thread's CPU time a parameter, report included."""
    fastinit.init_model_(model, METHOD)
    if not fastinit.verify_model_(model, METHOD):
        raise SystemExit(f"{kind}: init_model_ and verify_model_ differ: nothing is measured")
    count = sum(1 for _ in model.parameters())
    times: dict[str, list[float]] = {"init": [], "verify": []}
    for _ in range(repeats):
        for name, call in (("init", fastinit.init_model_), ("verify", fastinit.verify_model_)):
            times[name].append(_seconds(partial(call, model, METHOD)) / count * 1e6)
    init, verify = Timing.of(times["init"]), Timing.of(times["verify"])
    return {
        "kind": kind,
        "parameters": str(count),
        "init_us": f"{init.median:.4g}",
        "init_p20": f"{init.p20:.4g}",
        "init_p80": f"{init.p80:.4g}",
        "verify_us": f"{verify.median:.4g}",
        "verify_p20": f"{verify.p20:.4g}",
        "verify_p80": f"{verify.p80:.4g}",
        "repeats": str(repeats),
    }


def calls_a_parameter(parameter: Callable[[], nn.Parameter]) -> rows.Row:
    """Calls of functions that a further parameter takes: an exact number, on any machine."""
    found = {}
    small, large = (moe(3 * CALLS_AT * blocks, parameter) for blocks in (1, 2))
    for name, call in (("init", fastinit.init_model_), ("verify", fastinit.verify_model_)):
        first, second = (_calls(partial(call, model, METHOD)) for model in (small, large))
        found[f"{name}_calls"] = f"{(second - first) / (3 * CALLS_AT):.1f}"
    return found


def _seconds(call: Callable[[], object]) -> float:
    begin = time.thread_time()
    call()
    return time.thread_time() - begin


def _calls(call: Callable[[], object]) -> int:
    call()  # what is remembered for the next one
    count = 0

    def seen(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        call()
    finally:
        sys.setprofile(None)
    return count
