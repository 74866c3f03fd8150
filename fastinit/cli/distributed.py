"""``torchrun ... -m fastinit init SOURCE``: the same model as DTensors, each rank filling its own shards."""

import logging
import os
import threading
from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.ranks import Ranks
from fastinit.cli.device import backend_name, device_of_rank
from fastinit.cli.digest import digest_of_lines, tensor_digest
from fastinit.cli.in_memory import chosen_layers, dtype_of
from fastinit.cli.memory import free_bytes
from fastinit.cli.out import write_out
from fastinit.cli.source import Asked, asked, by_role, heading, materialised
from fastinit.cli.splits import split_dims
from fastinit.cli.stopwatch import Stopwatch
from fastinit.cli.table import FASTINIT, roles_table, totals
from fastinit.cli.watch import Watch
from fastinit.model.filling import fill_plan_
from fastinit.model.planned import Planned
from fastinit.model.report import row_of
from fastinit.shard.storage import dtype_name

_PATIENCE = timedelta(seconds=30)
_LONG = timedelta(days=7)


def run(arguments: Namespace) -> int:
    """Shard, fill, and print the table and the digest of the whole model on rank 0.

    A ``UsageError`` is the same on every rank, and rank 0 alone raises it. The process group is left to process.py.
    """
    if arguments.out is not None:
        return _out(arguments)
    if arguments.resume:
        raise UsageError("--resume: expected --out, the checkpoint to go on with")
    try:
        device, problem = device_of_rank(arguments.device), None
    except UsageError as error:
        device, problem = torch.device("cpu"), error
    try:
        _meet(device, problem)
        return _run(arguments, device)
    except UsageError:
        if not dist.is_initialized() or dist.get_rank() == 0:
            raise
        return 2  # rank 0 says why


def _out(arguments: Namespace) -> int:
    """Write a checkpoint with the other ranks. Nothing is asked of a GPU."""
    return together("init", arguments.timeout, lambda ranks, watch: write_out(arguments, ranks, watch.begun))


def together(command: str, seconds: int, work: Callable[[Ranks, Watch], int]) -> int:
    """What the work comes to that this rank and the others do on their CPUs; one that is lost for so long ends all."""
    rank = int(os.environ["RANK"])
    watch = Watch(f"fastinit {command}: rank {rank}", rank == 0)
    with watch.signals():
        # Each of the steps in which the ranks meet has the time by itself.
        late = threading.Timer(seconds, watch.end, (2, "error: another rank did not come"))
        late.daemon = True
        late.start()
        try:
            soon = timedelta(seconds=seconds)
            dist.init_process_group("gloo", timeout=soon)
            heard = dist.new_group(backend="gloo", timeout=soon)
            # One that works for long is waited for; that it is still there is seen to by the watch.
            patient = dist.new_group(backend="gloo", timeout=_LONG)
        except RuntimeError as error:
            watch.end(2, f"error: another rank did not come: {str(error).splitlines()[0]}")
        finally:
            late.cancel()
        try:
            with watch.others(heard):
                return work(Ranks(rank, dist.get_world_size(), patient), watch)
        except UsageError:
            if rank == 0:
                raise
            return 2  # rank 0 says why


def _meet(device: torch.device, problem: UsageError | None) -> None:
    """Start the process group; raise the problem with the device, if there is one, when all ranks have it.

    A rank that ended before would have torchrun end the first one, which is to say why. Those of another machine may have no
    problem, and are not waited for for long.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE if problem else None)
    except RuntimeError:
        if problem is None:
            raise
    if problem is not None:
        raise problem


def _run(arguments: Namespace, device: torch.device) -> int:
    world, rank = dist.get_world_size(), dist.get_rank()
    mesh = _mesh(arguments, device, world)
    # On a CPU the ranks share the memory; each GPU has its own.
    free = free_bytes(device) * (world if device.type == "cuda" else 1)
    layers, reason = _chosen_by_first(lambda: chosen_layers(arguments, free))
    wanted = asked(arguments, layers)
    plan = wanted.plan()
    dtype = dtype_of(plan)

    say = print if rank == 0 else lambda *_, **__: None
    say(heading(wanted, plan, layers, reason))
    degrees = ", ".join(f"{name} {n}" for name, n in zip(mesh.mesh_dim_names or (), mesh.shape, strict=True))
    settings = f"{device.type}, {backend_name(device)} backend, {dtype_name(dtype)}, seed {arguments.seed}"
    say(f"{world} ranks ({degrees}), {settings}", flush=True)

    _shard(wanted, plan, mesh)
    plan = materialised(wanted, device)
    for _, members in by_role(plan):
        fill_plan_(members)  # compiled before the clock runs
    watch = Stopwatch(device)
    dist.barrier()
    for role, members in by_role(plan):
        watch.time((FASTINIT, role), partial(fill_plan_, members))
    collectives = _collectives(lambda: fill_plan_(plan))

    rows = [row_of(planned) for _, members in by_role(plan) for planned in members]
    say("\n" + roles_table(rows, watch, dtype.itemsize, compare=False))
    say("\n" + totals(rows, watch, dtype.itemsize, compare=False) + " on rank 0")
    say(f"collectives during the fill: {collectives}, bytes moved: {0 if collectives == 0 else 'some'}")
    if arguments.digest:
        # It advises on how to gather faster; the digest is no part of the job.
        logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
        lines = {}
        for planned in plan:
            whole = planned.parameter.full_tensor()  # type: ignore[attr-defined]  # a DTensor; one tensor at a time
            if rank == 0:
                lines[planned.name] = tensor_digest(whole)
        if rank == 0:
            say(f"digest: sha256 {digest_of_lines(lines)} over the bits of {len(lines)} tensors")
    return 0 if collectives == 0 else 1


def _chosen_by_first(choose: Callable[[], tuple[int | None, str]]) -> tuple[int | None, str]:
    """What rank 0 chooses; each rank by itself may find another amount of free memory. A ``UsageError`` is everyone's."""
    outcome: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            outcome[0] = choose()
        except UsageError as error:
            outcome[1] = str(error)
    dist.broadcast_object_list(outcome)
    chosen, problem = outcome
    if problem is not None:
        raise UsageError(problem)
    return chosen  # type: ignore[no-any-return]  # as the first rank sent it


def _mesh(arguments: Namespace, device: torch.device, world: int) -> DeviceMesh:
    """Data, expert and tensor parallel ranks, the last the fastest."""
    refused = [f"--{name}" for name in ("compare", "shards") if getattr(arguments, name)]
    if refused:
        raise UsageError(f"{', '.join(refused)}: expected a run of one process, got one of {world} ranks")
    inner = arguments.tp * arguments.ep
    if world % inner:
        raise UsageError(
            f"--tp, --ep: expected degrees whose product divides {world} ranks, got {arguments.tp} * {arguments.ep}"
        )
    return init_device_mesh(
        device.type, (world // inner, arguments.ep, arguments.tp), mesh_dim_names=("dp", "ep", "tp")
    )


def _shard(wanted: Asked, plan: Sequence[Planned], mesh: DeviceMesh) -> None:
    """Split the model's parameters by expert and tensor parallelism, then by FSDP2.

    What no name tells how to split, each rank has a whole one of.
    """
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Placement, Replicate, Shard, distribute_tensor

    model = wanted.model
    names = tuple(name for name in ("ep", "tp") if mesh[name].size() > 1)
    for planned in plan if names else ():
        dims = split_dims(wanted.named.get(planned.name))
        splits: dict[str, Placement] = {
            name: Replicate() if dim is None else Shard(dim) for name, dim in zip(("ep", "tp"), dims, strict=True)
        }
        inner = mesh[names] if len(names) > 1 else mesh[names[0]]
        weight = distribute_tensor(planned.parameter.detach(), inner, [splits[name] for name in names])
        owner, _, name = planned.paths[0].rpartition(".")
        setattr(model.get_submodule(owner), name, nn.Parameter(weight))
    fully_shard(model, mesh=mesh["dp"])


def _collectives(fill_all: Callable[[], object]) -> int:
    """How many collectives filling everything once more takes."""
    from torch.distributed.tensor.debug import CommDebugMode

    with CommDebugMode() as communication:
        fill_all()
    return int(communication.get_total_counts())
