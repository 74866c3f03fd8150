"""One tensor of 64 elements: the CPU time that a call takes of its thread, by what is filled and where the key comes from.

``python -m bench.small`` prints the microseconds of the Triton path, compiled for sm_90, with a driver that launches nothing.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

import fastinit
from bench import gate, rows
from bench.providers import FILLS, KEY, MAIN, OURS, TORCH
from bench.timing import Timing
from fastinit import LocalShard
from fastinit.law.distributions import Distribution, Normal, Uniform
from fastinit.stream import Key

ELEMENTS = 64
BATCH, ROUNDS = 50, 50  # calls in a row, as one takes less than a clock can tell; 2500 calls of each
NO_DRIVER = "trunc_normal_, a driver that launches nothing"
Call = Callable[[], object]
_LAW = FILLS[MAIN].law
_NUMBERS = _LAW.parameters()


def cases(device: torch.device) -> dict[tuple[str, str], Call]:
    """By (case, provider). What is ours has passed the gate."""
    plain, half = (torch.empty(ELEMENTS, dtype=dtype, device=device) for dtype in (torch.float32, torch.bfloat16))
    parameter, sharded = nn.Parameter(plain.clone()), plain.clone()
    whole, shard = LocalShard.whole((ELEMENTS,)), LocalShard((4 * ELEMENTS,), (ELEMENTS,))
    generator = torch.Generator(device)

    def ours(law: Distribution, tensor: Tensor, place: LocalShard, call: Call) -> Call:
        gate.check("a small fill", call, tensor.detach(), law, KEY, place)
        return call

    return {
        ("trunc_normal_", OURS): ours(
            _LAW, plain, whole, lambda: fastinit.trunc_normal_(plain, *_NUMBERS, key=KEY)
        ),
        ("trunc_normal_", TORCH): lambda: nn.init.trunc_normal_(plain, *_NUMBERS),
        ("trunc_normal_, bf16", OURS): ours(
            _LAW, half, whole, lambda: fastinit.trunc_normal_(half, *_NUMBERS, key=KEY)
        ),
        ("trunc_normal_, Parameter", OURS): ours(
            _LAW, parameter, whole, lambda: fastinit.trunc_normal_(parameter, *_NUMBERS, key=KEY)
        ),
        ("trunc_normal_, LocalShard", OURS): ours(
            _LAW, sharded, shard, lambda: fastinit.trunc_normal_(sharded, *_NUMBERS, key=KEY, shard=shard)
        ),
        ("trunc_normal_, generator", OURS): lambda: fastinit.trunc_normal_(plain, *_NUMBERS, generator=generator),
        ("normal_", OURS): ours(Normal(), plain, whole, lambda: fastinit.normal_(plain, key=KEY)),
        ("normal_", TORCH): lambda: nn.init.normal_(plain),
        ("uniform_", OURS): ours(Uniform(), plain, whole, lambda: fastinit.uniform_(plain, key=KEY)),
        ("uniform_", TORCH): lambda: nn.init.uniform_(plain),
    }  # fmt: skip


def with_dtensor(device: torch.device) -> dict[tuple[str, str], Call]:
    """A DTensor of one rank, whose process group is there as long as the call is needed."""
    mesh = init_device_mesh(device.type, (1,))
    dtensor = distribute_tensor(torch.empty(ELEMENTS, device=device), mesh, [Shard(0)])
    fill: Call = lambda: fastinit.trunc_normal_(dtensor, *_NUMBERS, key=KEY)  # noqa: E731
    gate.check("a small DTensor", fill, dtensor.to_local(), _LAW, KEY, LocalShard.whole((ELEMENTS,)))
    return {("trunc_normal_, DTensor", OURS): fill}


def measure(device: torch.device, rounds: int = ROUNDS) -> list[rows.Row]:
    """All cases in turn, and of a CPU the Triton path without a driver."""
    dist.init_process_group(store=dist.HashStore(), rank=0, world_size=1, backend="gloo")
    try:
        timings = timed(cases(device) | with_dtensor(device), rounds)
    finally:
        dist.destroy_process_group()
    found = [row_of(case, provider, timing) for (case, provider), timing in timings.items()]
    if device.type == "cpu":
        printed = subprocess.run(
            [sys.executable, "-m", "bench.small", str(rounds)],
            cwd=rows.ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found.append(row_of(NO_DRIVER, OURS, Timing(**json.loads(printed))))
    return found


def timed(calls: dict[tuple[str, str], Call], rounds: int) -> dict[tuple[str, str], Timing]:
    """Seconds of this thread, without those of calling."""
    nothing = ("nothing", "")
    calls = calls | {nothing: lambda: None}
    times: dict[tuple[str, str], list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.thread_time()
            for _ in range(BATCH):
                call()
            times[name].append((time.thread_time() - begin) / BATCH)
    of_calling = Timing.of(times.pop(nothing)).median
    return {name: Timing.of([max(taken - of_calling, 0.0) for taken in all_of_it]) for name, all_of_it in times.items()}


def row_of(case: str, provider: str, timing: Timing) -> rows.Row:
    microseconds = {name: f"{getattr(timing, name) * 1e6:.4g}" for name in ("median", "p20", "p80")}
    return {
        "case": case,
        "provider": provider,
        "elements": str(ELEMENTS),
        "us": microseconds["median"],
        "p20": microseconds["p20"],
        "p80": microseconds["p80"],
        "calls": str(timing.repeats * BATCH),
    }


def show(found: list[rows.Row]) -> None:
    for row in found:
        print(f"{row['case']:48}{row['provider']:16}{row['elements']:>4} elements {row['us']:>8} us of a thread")


def main() -> None:
    from triton.runtime import driver

    from fastinit import op
    from fastinit.backends import triton as backend
    from tools.null_driver import Driver

    driver.set_active(Driver())
    op.backend_for = lambda device_type: backend
    tensor, key = torch.empty(ELEMENTS), Key(1)
    calls: dict[tuple[str, str], Call] = {(NO_DRIVER, OURS): lambda: fastinit.trunc_normal_(tensor, *_NUMBERS, key=key)}
    timing = timed(calls, int(sys.argv[1]))[NO_DRIVER, OURS]
    print(json.dumps({name: getattr(timing, name) for name in ("median", "p20", "p80", "repeats")}))


if __name__ == "__main__":
    main()
