"""A live initialisation of many small matrices: what ``fastinit.keyed`` adds to a parameter, with Python's collector on and off."""

import argparse
import gc
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import fastinit
from bench import rows
from bench.timing import Timing
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal

STD, BOUND = 0.02, 0.06
SHAPE = (16, 16)  # small, so that what is told apart is the cost of one
# How nn.init draws: by an operator of torch, or by a function with a loop, in whose place fastinit has a hook.
INITS: dict[str, tuple[Callable[[Tensor], object], Distribution]] = {
    "normal_": (lambda weight: nn.init.normal_(weight, std=STD), Normal(0.0, STD)),
    "trunc_normal_": (
        lambda weight: nn.init.trunc_normal_(weight, std=STD, a=-BOUND, b=BOUND),
        TruncatedNormal(0.0, STD, -BOUND, BOUND),
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=10_000, metavar="N", help="parameters")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print the rows, and append none")


def run(arguments: argparse.Namespace) -> int:
    rows.check("live")
    shared = rows.environment(torch.device("cpu"))
    for name in INITS:
        for collector in ("on", "off"):
            row = measure(name, collector, arguments.size, arguments.repeats)
            print(
                f"{name:14} of {row['parameters']} parameters, collector {collector:3}: torch {float(row['torch_us']):>5.1f} us "
                f"each, and live {float(row['added_us']):>5.1f} more",
                flush=True,
            )
            if not arguments.dry:
                rows.append("live", [row | shared])
    return 0


def measure(name: str, collector: str, size: int, repeats: int) -> rows.Row:
    """The gate, which warms, then both in turn: microseconds of this thread's CPU time a parameter, report included."""
    init, law = INITS[name]
    model = nn.ParameterList(nn.Parameter(torch.empty(SHAPE)) for _ in range(size))
    weights = list(model)

    def alone() -> None:
        for weight in weights:
            init(weight)

    def live() -> None:
        with fastinit.keyed(model, seed=0):
            alone()

    live()
    last = fastinit.Key.of(str(size - 1), seed=0)
    if not torch.equal(weights[-1], fastinit.foreach_fill_([torch.empty(SHAPE)], law, keys=[last])[0]):
        raise SystemExit(f"{name}: keyed() and foreach_fill_ differ: nothing is measured")
    times: dict[str, list[float]] = {"torch": [], "added": []}
    for _ in range(repeats):
        own = _seconds(alone, collector == "on")
        times["torch"].append(own / size * 1e6)
        times["added"].append((_seconds(live, collector == "on") - own) / size * 1e6)
    own, added = Timing.of(times["torch"]), Timing.of(times["added"])
    return {
        "init": name,
        "collector": collector,
        "parameters": str(size),
        "torch_us": f"{own.median:.4g}",
        "added_us": f"{added.median:.4g}",
        "added_p20": f"{added.p20:.4g}",
        "added_p80": f"{added.p80:.4g}",
        "repeats": str(repeats),
    }


def _seconds(call: Callable[[], object], collects: bool) -> float:
    gc.collect()
    if not collects:
        gc.disable()
    try:
        begin = time.thread_time()
        call()
        return time.thread_time() - begin
    finally:
        gc.enable()
