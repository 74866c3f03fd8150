"""One model of many small tensors: tensor by tensor, in one call, by name, and by torch; tensors a second and host time."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

import fastinit
from bench import gate, rows
from bench.providers import DTYPES, FILLS, MAIN, OURS, TORCH
from bench.timing import Timing
from fastinit import Key, LocalShard

LAW = FILLS[MAIN].law
BLOCKS, EXPERTS = 52, 64  # of three matrices: 9984 tensors
SHAPES = {"cpu": (64, 64), "cuda": (512, 1024)}
REPEATS = 3
CHECKED = 50  # the reference checks every so many tensors; of all, a checksum is compared


def moe(blocks: int, experts: int, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> nn.Module:
    """A model that is nothing but experts of three matrices each, under their names in transformers."""
    rows_, columns = shape

    def expert() -> nn.Module:
        sizes = {"gate_proj": (columns, rows_), "up_proj": (columns, rows_), "down_proj": (rows_, columns)}
        return nn.ModuleDict({name: nn.Linear(*size, bias=False) for name, size in sizes.items()})

    def block() -> nn.Module:
        return nn.ModuleDict({"mlp": nn.ModuleDict({"experts": nn.ModuleList(expert() for _ in range(experts))})})

    with torch.device("meta"):
        model = nn.ModuleDict({"layers": nn.ModuleList(block() for _ in range(blocks))})
    return model.to(dtype).to_empty(device=device)


def by_torch(model: nn.Module) -> None:
    for parameter in model.parameters():
        nn.init.trunc_normal_(parameter, *LAW.parameters())


@lru_cache(maxsize=1)
def listed(model: nn.Module) -> tuple[list[nn.Parameter], list[Key]]:
    """Parameters and keys, made once: what is timed is what is done with them. ``init_model_`` makes its own each time."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    return list(parameters), [Key.of(name) for name in names]


def one_by_one(model: nn.Module) -> None:
    for parameter, key in zip(*listed(model), strict=True):
        fastinit.trunc_normal_(parameter, *LAW.parameters(), key=key)


def in_one_call(model: nn.Module) -> None:
    parameters, keys = listed(model)
    fastinit.foreach_fill_(parameters, LAW, keys=keys)


def by_name(model: nn.Module) -> None:
    fastinit.init_model_(model, "normal", std=LAW.std)


PROVIDERS: dict[str, Callable[[nn.Module], None]] = {
    f"{OURS}.trunc_normal_": one_by_one,
    f"{OURS}.foreach_fill_": in_one_call,
    f"{OURS}.init_model_": by_name,
    TORCH: by_torch,
}
OF_OURS = {name: fill for name, fill in PROVIDERS.items() if name != TORCH}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    parser.add_argument("--experts", type=int, default=EXPERTS, help="a block; three matrices each")
    parser.add_argument("--shape", type=int, nargs=2, help="of each matrix")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["bfloat16"])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--dry", action="store_true", help="print the rows, and append none")


def run(arguments: argparse.Namespace) -> int:
    rows.check("model")
    device = torch.device(arguments.device)
    shape = tuple(arguments.shape or SHAPES[device.type])
    shared = rows.environment(device)
    host = stand_in(arguments.blocks, arguments.experts) if device.type == "cpu" else {}
    for dtype in arguments.dtypes:
        model = moe(arguments.blocks, arguments.experts, shape, DTYPES[dtype], device)
        found = measure(model, dtype, device, arguments.repeats, host)
        for row in found:
            print(
                f"{row['provider']:26}{row['dtype']:10}{row['tensors']:>7} tensors {float(row['seconds']):>9.4f} s "
                f"{float(row['tensors_per_s']):>10,.0f} a second, host {row['host_us_per_tensor'] or '-':>8} us a tensor "
                f"({row['host_how'] or 'not told apart'})",
                flush=True,
            )
        if not arguments.dry:
            rows.append("model", [row | shared for row in found])
    return 0


def measure(model: nn.Module, dtype: str, device: torch.device, repeats: int, host: dict[str, float]) -> list[rows.Row]:
    """The gate, which warms ours, then all providers in turn."""
    check(model)
    by_torch(model)
    until_return: dict[str, list[float]] = {name: [] for name in PROVIDERS}
    until_done: dict[str, list[float]] = {name: [] for name in PROVIDERS}
    for _ in range(repeats):
        for name, fill in PROVIDERS.items():
            returned, done = _seconds(partial(fill, model), device)
            until_return[name].append(returned)
            until_done[name].append(done)
    parameters = list(model.parameters())
    found = []
    for name in PROVIDERS:
        timing, microseconds, how = Timing.of(until_done[name]), host.get(name), "a driver that launches nothing"
        if device.type == "cuda":
            microseconds, how = (
                Timing.of(until_return[name]).median / len(parameters) * 1e6,
                "until the call returns",
            )
        found.append(
            {
                "provider": name,
                "dtype": dtype,
                "tensors": str(len(parameters)),
                "elements": str(sum(parameter.numel() for parameter in parameters)),
                "seconds": f"{timing.median:.6g}",
                "p20": f"{timing.p20:.6g}",
                "p80": f"{timing.p80:.6g}",
                "tensors_per_s": f"{len(parameters) / timing.median:.6g}",
                "host_us_per_tensor": "" if microseconds is None else f"{microseconds:.4g}",
                "host_how": "" if microseconds is None else how,
                "repeats": str(timing.repeats),
            }
        )
    return found


def check(model: nn.Module) -> None:
    """Every provider of ours against the reference, and against each other in all tensors."""
    checksums = {}
    for provider, fill in OF_OURS.items():
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(torch.nan)
        fill(model)
        for k, (name, parameter) in enumerate(model.named_parameters()):
            if k % CHECKED == 0:
                shard = LocalShard.whole(tuple(parameter.shape))
                gate.compare(f"{name} by {provider}", parameter.detach(), LAW, Key.of(name), shard)
        checksums[provider] = torch.stack([_checksum(parameter.detach()) for parameter in model.parameters()])
    first, *others = checksums
    for other in others:
        if not torch.equal(checksums[first], checksums[other]):
            raise SystemExit(f"{other} differs from {first}: nothing is measured")


def stand_in(blocks: int, experts: int) -> dict[str, float]:
    """Host microseconds a tensor of the Triton path, where there is no GPU: in a process whose driver launches nothing."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "bench.host", str(blocks), str(experts)]
    done = subprocess.run(command, env=environment, cwd=rows.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"no host times: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return {}
    return json.loads(done.stdout)


def _checksum(tensor: Tensor) -> Tensor:
    """Of the bits, each word by its place."""
    bits = tensor.flatten().view(torch.int16)
    return (bits.long() * torch.arange(1, bits.numel() + 1, device=bits.device)).sum()


def _seconds(call: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Until the call returns, and until the GPU has done what it launched."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    returned = time.perf_counter() - begin
    if device.type == "cuda":
        torch.cuda.synchronize()
    return returned, time.perf_counter() - begin
