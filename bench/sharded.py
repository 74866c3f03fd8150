"""One sharded weight: the full tensor on every rank and a scatter, torch's DTensor way, and ours, by the number of ranks."""

import argparse
import os
import socket
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor, zeros
from torch.utils._python_dispatch import TorchDispatchMode

import fastinit
from bench import gate, memory, rows
from bench.providers import DTYPES, FILLS, KEY, MAIN, OURS
from bench.timing import Timing
from fastinit import LocalShard

LAW = FILLS[MAIN].law
SHAPES = {"cpu": (8, 512, 1024), "cuda": (64, 2048, 1024)}  # experts, rows, columns
SEED = 2024
REPEATS = 7


class Collectives(TorchDispatchMode):
    """Counts collectives, and the bytes that they write on this rank: those of their output tensors.

    torch.distributed's calls, DTensor's among them, end in operators of c10d, whose first argument is the output.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.bytes = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # the DTensor comes down to calls on plain tensors, and these count
        result = function(*arguments, **(keywords or {}))
        if function.namespace == "c10d" and "barrier" not in function.__name__:
            self._count(arguments[0])
        elif function.namespace == "_c10d_functional" and not function.__name__.startswith(("wait", "_wrap")):
            self._count(result)
        return result

    def _count(self, outputs: object) -> None:
        self.calls += 1
        self.bytes += _bytes(outputs)


def _bytes(tensors: object) -> int:
    if isinstance(tensors, Tensor):
        return tensors.numel() * tensors.element_size()
    return sum(map(_bytes, tensors)) if isinstance(tensors, list | tuple) else 0


def full_then_scatter(weight: DTensor) -> None:
    """OLMo-core's ``_apply_init``: every rank fills the full tensor from the same generator and takes part in a scatter."""
    device = weight.to_local().device
    full = torch.zeros(weight.shape, dtype=weight.dtype, device=device)
    torch.nn.init.trunc_normal_(full, *LAW.parameters(), generator=torch.Generator(device).manual_seed(SEED))
    weight.to_local().copy_(distribute_tensor(full, weight.device_mesh, weight.placements).to_local())


def dtensor_random(weight: DTensor) -> None:
    """torch's own: the random operators of a DTensor, whose values depend on the mesh."""
    torch.nn.init.trunc_normal_(weight, *LAW.parameters())


def ours(weight: DTensor) -> None:
    fastinit.trunc_normal_(weight, *LAW.parameters(), key=KEY)


PROVIDERS: dict[str, Callable[[DTensor], None]] = {
    OURS: ours,
    "full tensor, then scatter": full_then_scatter,
    "torch.nn.init of a DTensor": dtensor_random,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--ranks", type=int, nargs="+", help="without it 1, 2, 4, ... as far as there are GPUs, or 4")
    parser.add_argument("--shape", type=int, nargs="+", help="of the whole weight, sharded along its first dimension")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["float32"])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--dry", action="store_true", help="print the rows, and append none")


def run(arguments: argparse.Namespace) -> int:
    rows.check("sharded")
    kind = arguments.device.type
    most = torch.cuda.device_count() if kind == "cuda" else 4
    worlds = arguments.ranks or [ranks for ranks in (1, 2, 4, 8) if ranks <= most]
    shape = tuple(arguments.shape or SHAPES[kind])
    shared = rows.environment(arguments.device)
    if kind == "cpu":
        for dtype in arguments.dtypes:
            fastinit.trunc_normal_(torch.empty(8, dtype=DTYPES[dtype]), *LAW.parameters(), key=KEY)  # compiled once
    for ranks in worlds:
        found = world(kind, ranks, shape, arguments.dtypes, arguments.repeats)
        for row in found:
            print(
                f"{row['provider']:28}{row['dtype']:10}{ranks:>3} ranks {float(row['seconds']) * 1e3:>10.2f} ms "
                f"{int(row['bytes_moved']):>13,} B moved by {row['collectives']:>2} collectives "
                f"{int(row['extra_bytes_per_rank']):>13,} B extra a rank",
                flush=True,
            )
        if not arguments.dry:
            # Each rank has one thread on a CPU.
            threads = {"threads": "1"} if kind == "cpu" else {}
            rows.append("sharded", [row | shared | threads for row in found])
    return 0


def world(kind: str, ranks: int, shape: tuple[int, ...], dtypes: list[str], repeats: int) -> list[rows.Row]:
    """The rows of one world: gloo on a CPU; NCCL, a rank a GPU, on GPUs. A rank that fails ends it."""
    # A fork of what has imported all and started no thread is quick; one of what has touched a GPU is not to be used.
    method = "spawn" if kind == "cuda" else "fork"
    with tempfile.TemporaryDirectory() as folder:
        arguments = (ranks, kind, shape, dtypes, repeats, _free_port(), f"{folder}/rows")
        torch.multiprocessing.start_processes(_rank, arguments, nprocs=ranks, start_method=method)
        return torch.load(f"{folder}/rows")


def _rank(
    rank: int, ranks: int, kind: str, shape: tuple[int, ...], dtypes: list[str], repeats: int, port: int, out: str
) -> None:
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)  # the ranks share the cores
        warnings.filterwarnings("ignore", message="DTensor random operators may not")
    bound = {"backend": "nccl", "device_id": device} if kind == "cuda" else {"backend": "gloo"}
    dist.init_process_group(**bound, rank=rank, world_size=ranks)
    try:
        found = [row for dtype in dtypes for row in _measured(device, ranks, shape, dtype, repeats)]
        if rank == 0:
            torch.save(found, out)
    finally:
        dist.destroy_process_group()


def _measured(device: torch.device, ranks: int, shape: tuple[int, ...], dtype: str, repeats: int) -> list[rows.Row]:
    mesh = init_device_mesh(device.type, (ranks,))
    weight = zeros(*shape, dtype=DTYPES[dtype], device_mesh=mesh, placements=[Shard(0)])
    _gate(weight)
    times: dict[str, list[float]] = {name: [] for name in PROVIDERS}
    counted, extra = {}, {}
    for name, fill in PROVIDERS.items():
        fill(weight)  # what happens only once, like torch's agreement on a seed, does not count
        with Collectives() as counted[name]:
            fill(weight)
        dist.barrier()
        extra[name] = memory.extra_bytes(partial(fill, weight), device)
    for _ in range(repeats):
        for name, fill in PROVIDERS.items():
            times[name].append(_seconds(partial(fill, weight), device))
    mine = {name: (times[name], counted[name].bytes, counted[name].calls, extra[name]) for name in PROVIDERS}
    everyone: list[dict] = [{}] * ranks
    dist.all_gather_object(everyone, mine)
    return [
        {
            "provider": name,
            "dtype": dtype,
            "global_shape": "x".join(map(str, shape)),
            "ranks": str(ranks),
            # A fill is done when the slowest rank is.
            **_columns(Timing.of([max(each) for each in zip(*(one[name][0] for one in everyone), strict=True)])),
            "bytes_moved": str(sum(one[name][1] for one in everyone)),
            "collectives": str(max(one[name][2] for one in everyone)),
            "extra_bytes_per_rank": str(max(one[name][3] for one in everyone)),
            "shard_bytes": str(_bytes(weight.to_local())),
        }
        for name in PROVIDERS
    ]


def _columns(timing: Timing) -> rows.Row:
    return {
        "seconds": f"{timing.median:.6g}",
        "p20": f"{timing.p20:.6g}",
        "p80": f"{timing.p80:.6g}",
        "repeats": str(timing.repeats),
    }


def _gate(weight: DTensor) -> None:
    """The full tensor is the reference's, whatever the number of ranks; so it is the same for all."""
    weight.to_local().fill_(torch.nan)
    with Collectives() as counted:
        ours(weight)
    if counted.calls:
        raise SystemExit(f"our fill ran {counted.calls} collectives: nothing is measured")
    full = weight.full_tensor()
    if dist.get_rank() == 0:
        what = f"our fill of {tuple(weight.shape)} on {dist.get_world_size()} ranks"
        gate.compare(what, full, LAW, KEY, LocalShard.whole(tuple(weight.shape)))
    local = weight.to_local()
    start = dist.get_rank() * local.shape[0]
    gate.compare(f"rank {dist.get_rank()}", local, LAW, KEY, LocalShard(tuple(weight.shape), (start, 0, 0)))


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """Wall time on this rank, to the end of what it has put on its GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    dist.barrier()
    begin = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]
