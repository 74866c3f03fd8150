"""``torchrun ... -m fastinit init PRESET``: the same model as DTensors, each rank filling its own shards."""

import logging
import os
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from fastinit.backends import backend_for
from fastinit.cli.digest import digest_of_lines, tensor_digest
from fastinit.cli.errors import UsageError
from fastinit.cli.memory import choose_layers, free_bytes, size_text
from fastinit.cli.report import FASTINIT, kinds_table, totals
from fastinit.cli.stopwatch import Stopwatch
from fastinit.model.presets import Kind, ParameterSpec, Preset, preset

Fill = Callable[[Tensor, Any], object]

_EXPERTS = (Kind.EXPERT_W1, Kind.EXPERT_W2, Kind.EXPERT_W3)
# The dimension that tensor parallelism splits: outputs of column-parallel layers, inputs of row-parallel ones, the vocabulary.
_TENSOR_PARALLEL = {
    Kind.EMBEDDING: 0,
    Kind.FINAL_OUTPUT: 0,
    Kind.ATTENTION_IN: 0,
    Kind.ATTENTION_OUT: 1,
    Kind.EXPERT_W1: 2,
    Kind.EXPERT_W3: 2,
    Kind.EXPERT_W2: 1,
}


def run(arguments: Namespace, plan_for: Callable[[Preset, int], list[Any]], fill: Fill) -> int:
    """Shard, fill, and print the table and the digest of the whole model on rank 0.

    A ``UsageError`` is the same on every rank, and rank 0 alone raises it. The process group is left to process.py.
    """
    local_rank = int(os.environ["LOCAL_RANK"])
    cuda = torch.cuda.is_available() if arguments.device is None else arguments.device.startswith("cuda")
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        return _run(arguments, plan_for, fill, device)
    except UsageError:
        if dist.get_rank() == 0:
            raise
        return 2  # rank 0 says why


def _run(arguments: Namespace, plan_for: Callable[[Preset, int], list[Any]], fill: Fill, device: torch.device) -> int:
    world, rank = dist.get_world_size(), dist.get_rank()
    mesh = _mesh(arguments, device, world)
    model = preset(arguments.preset)
    dtype = getattr(torch, arguments.dtype or model.dtype)
    # On a CPU the ranks share the memory; each GPU has its own.
    free = free_bytes(device) * (world if device.type == "cuda" else 1)
    layers, reason = _chosen_by_first(lambda: choose_layers(model, dtype.itemsize, free, arguments.layers))
    plan = plan_for(model, layers)
    elements = sum(planned.spec.numel for planned in plan)

    say = print if rank == 0 else lambda *_, **__: None
    say(f"{model.name}: {model.model}, {model.parameters:,} parameters ({model.sources[0]})")
    size = size_text(elements * dtype.itemsize)
    say(f"{layers} of {model.num_layers} layers ({reason}): {elements:,} elements, {size}")
    backend = backend_for(device.type).__name__.rpartition(".")[2]
    degrees = ", ".join(f"{name} {n}" for name, n in zip(mesh.mesh_dim_names or (), mesh.shape, strict=True))
    say(
        f"{world} ranks ({degrees}), {device.type}, {backend} backend, {str(dtype)[6:]}, seed {arguments.seed}",
        flush=True,
    )

    parameters = _sharded([planned.spec for planned in plan], dtype, device, mesh)
    for planned in {planned.spec.kind: planned for planned in plan}.values():
        fill(parameters[planned.spec.name], planned)  # compiled before the clock runs
    watch = Stopwatch(device)
    dist.barrier()
    for planned in plan:
        watch.time((FASTINIT, planned.spec.kind), partial(fill, parameters[planned.spec.name], planned))
    collectives = _collectives(lambda: [fill(parameters[planned.spec.name], planned) for planned in plan])

    filled = [(planned.spec, planned.law) for planned in plan]
    say("\n" + kinds_table(filled, watch, dtype.itemsize, compare=False))
    say("\n" + totals(filled, watch, dtype.itemsize, compare=False) + " on rank 0")
    say(f"collectives during the fill: {collectives}, bytes moved: {0 if collectives == 0 else 'some'}")
    if arguments.digest:
        # It advises on how to gather faster; the digest is no part of the job.
        logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
        lines = {}
        for name, parameter in parameters.items():
            whole = parameter.full_tensor()  # type: ignore[attr-defined]  # a DTensor; one tensor at a time
            if rank == 0:
                lines[name] = tensor_digest(whole)
        if rank == 0:
            say(f"digest: sha256 {digest_of_lines(lines)} over the bits of {len(lines)} tensors")
    return 0 if collectives == 0 else 1


def _chosen_by_first(choose: Callable[[], tuple[int, str]]) -> tuple[int, str]:
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
    refused = [f"--{name}" for name in ("compare", "shards", "out", "resume") if getattr(arguments, name)]
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


def _sharded(
    specs: list[ParameterSpec], dtype: torch.dtype, device: torch.device, mesh: DeviceMesh
) -> dict[str, nn.Parameter]:
    """The model's parameters, split by expert and tensor parallelism and then by FSDP2, in memory of their own, all NaN."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Placement, Replicate, Shard, distribute_tensor

    names = tuple(name for name in ("ep", "tp") if mesh[name].size() > 1)
    root = nn.Module()
    for spec in specs:
        weight: Tensor = torch.empty(spec.shape, dtype=dtype, device="meta")
        if names:
            splits: dict[str, Placement] = {"ep": Replicate(), "tp": Replicate()}
            if spec.kind in _EXPERTS:
                splits["ep"] = Shard(0)
            if spec.kind in _TENSOR_PARALLEL:
                splits["tp"] = Shard(_TENSOR_PARALLEL[spec.kind])
            inner = mesh[names] if len(names) > 1 else mesh[names[0]]
            weight = distribute_tensor(weight, inner, [splits[name] for name in names])
        *path, last = spec.name.split(".")
        owner = root
        for part in path:
            if not hasattr(owner, part):
                owner.add_module(part, nn.Module())
            owner = getattr(owner, part)
        owner.register_parameter(last, nn.Parameter(weight))
    fully_shard(root, mesh=mesh["dp"])
    root.to_empty(device=device)
    with torch.no_grad():
        for parameter in root.parameters():
            parameter.to_local().fill_(float("nan"))  # type: ignore[attr-defined]  # a DTensor
    return dict(root.named_parameters())


def _collectives(fill_all: Callable[[], object]) -> int:
    """How many collectives filling everything once more takes."""
    from torch.distributed.tensor.debug import CommDebugMode

    with CommDebugMode() as communication:
        fill_all()
    return int(communication.get_total_counts())
