"""``python -m fastinit init PRESET``: fill the weights of a published architecture, every tensor by name."""

import os
import shlex
from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from fastinit.checkpoint import writing
from fastinit.cli import progress
from fastinit.checkpoint.contents import contents_of
from fastinit.cli.device import backend_name, usable_device
from fastinit.cli.digest import model_digest
from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.index import index_of
from fastinit.cli.memory import choose_layers, free_bytes
from fastinit.checkpoint.document import recipe_of
from fastinit.cli.table import FASTINIT, TORCH, roles_table, totals
from fastinit.cli.source import asked_plan, asked_preset, by_role, heading, materialised, of_preset
from fastinit.cli.stopwatch import Stopwatch
from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.transformed import Constant
from fastinit.model.filling import fill_plan_, fill_planned_
from fastinit.model.planned import Planned
from fastinit.model.presets import Preset
from fastinit.model.report import row_of
from fastinit.model.shown import shown, size_text
from fastinit.model.skeleton import numel
from fastinit.shard.bits import bits_of
from fastinit.shard.geometry import LocalShard
from fastinit.shard.storage import dtype_name


def run(arguments: Namespace) -> int:
    """Fill, and print a table and a digest; 1 when a shard's bits are not those of the whole, else 0."""
    if dist.is_torchelastic_launched():
        from fastinit.cli import distributed  # imports torch.distributed.tensor

        return distributed.run(arguments)
    if arguments.tp * arguments.ep > 1:
        raise UsageError("--tp, --ep: expected several ranks, got one process: start them with torchrun")
    known, dtype = asked_preset(arguments)
    if arguments.out is not None:
        return _write(arguments, known, dtype)
    if arguments.resume:
        raise UsageError("--resume: expected --out, the checkpoint to go on with")
    device = usable_device(arguments.device)
    layers, reason = choose_layers(known, dtype.itemsize, free_bytes(device), arguments.layers)
    model = of_preset(known, layers, dtype)
    asked_plan(model, arguments)  # what is wrong with it is said before memory is taken
    print(heading(known, layers, reason, dtype))
    settings = f"{dtype_name(dtype)}, method {arguments.method}, seed {arguments.seed}"
    print(f"{device}, {backend_name(device)} backend, {settings}", flush=True)

    plan = materialised(model, arguments, device)
    watch = Stopwatch(device)
    different = []
    with progress.bar(numel(known, layers), "filling") as advance:
        for role, members in by_role(plan):
            compile_(members[0])
            if arguments.compare:
                watch.time((TORCH, role), partial(_torch_fill, members))
            watch.time((FASTINIT, role), partial(fill_plan_, members))
            if arguments.shards:
                different += [planned.name for planned in members if not _same_in_shards(planned, arguments.shards)]
            advance(sum(planned.parameter.numel() for planned in members))

    rows = [row_of(planned) for _, members in by_role(plan) for planned in members]
    print("\n" + roles_table(rows, watch, dtype.itemsize, arguments.compare))
    print("\n" + totals(rows, watch, dtype.itemsize, arguments.compare))
    if arguments.shards:
        print(_shards_verdict(arguments.shards, plan, different))
    if arguments.digest:
        with progress.bar(numel(known, layers), "hashing") as advance:
            weights = {planned.name: planned.parameter for planned in plan}
            digest = model_digest(weights, lambda tensor: advance(tensor.numel()))
        print(f"digest: sha256 {digest} over the bits of {len(weights)} tensors")
    return 1 if different else 0


def _write(arguments: Namespace, known: Preset, dtype: torch.dtype) -> int:
    """Write a checkpoint instead of holding the model: a tensor at a time, so every layer is written by default."""
    ignored = [f"--{name}" for name in ("shards", "compare", "device") if getattr(arguments, name) not in (None, False)]
    ignored += [] if arguments.digest else ["--no-digest"]
    if ignored:
        raise UsageError(
            f"{', '.join(ignored)}: expected without --out, which fills files on the CPU and prints no digest"
        )
    layers = arguments.layers or known.num_layers
    plan = asked_plan(of_preset(known, layers, dtype), arguments)
    index = index_of(recipe_of(known, layers, dtype, arguments), plan, dtype)
    elements = numel(known, layers)
    with progress.bar(elements, "writing") as advance:
        proven = writing.write(
            Path(arguments.out), contents_of(index, plan, dtype), advance, resume=arguments.resume
        )
    size = size_text(elements * dtype.itemsize)
    if arguments.resume:
        print(f"{proven} of {len(plan)} files were there, and proved to be right")
    print(f"{shown(arguments.out)}: {len(plan)} tensors of {known.name}, {elements:,} elements, {size}")
    path = f"./{arguments.out}" if arguments.out.startswith("-") else arguments.out  # no option
    print(f"prove it at any time: fastinit verify {_shell_word(path)}")
    return 0


def _shell_word(path: str) -> str:
    """A path as a shell reads it again; what a terminal would obey is written in bash's way, by the bytes.

    >>> print(_shell_word("it's"), _shell_word("\\x1b[2J"))
    'it'"'"'s' $'\\x1b\\x5b\\x32\\x4a'
    """
    if path.isprintable():
        return shlex.quote(path)
    return "$'" + "".join(f"\\x{byte:02x}" for byte in os.fsencode(path)) + "'"


def compile_(planned: Planned) -> None:
    """Fill one element as planned, so that no compilation falls into the time that is measured."""
    device = planned.parameter.device
    fill_planned_(torch.empty([1] * planned.parameter.ndim, dtype=planned.parameter.dtype, device=device), planned)


def _torch_fill(members: Sequence[Planned]) -> None:
    for planned in members:
        weight, law = planned.parameter, planned.law
        if isinstance(law, Normal):
            nn.init.normal_(weight, law.mean, law.std)
        elif isinstance(law, TruncatedNormal):
            nn.init.trunc_normal_(weight, law.mean, law.std, law.a, law.b)
        elif isinstance(law, Uniform):
            nn.init.uniform_(weight, law.a, law.b)
        elif isinstance(law, Constant):
            nn.init.constant_(weight, law.value)


def shard_cuts(rows: int, shards: int) -> Iterator[list[int]]:
    """Where to cut ``rows`` into that many shards: evenly, and into parts that grow like 1, 2, 3; some may be empty.

    >>> list(shard_cuts(10, 3))
    [[0, 4, 8, 10], [0, 1, 5, 10]]
    """
    size = -(-rows // shards)
    yield [min(k * size, rows) for k in range(shards + 1)]
    yield [rows * k * (k + 1) // (shards * (shards + 1)) for k in range(shards + 1)]


def _same_in_shards(planned: Planned, shards: int) -> bool:
    """Whether every shard along dim 0, filled on its own, has the bits of that part of the whole."""
    weight = planned.parameter.detach()
    for cuts in shard_cuts(weight.shape[0], shards):
        for first, last in pairwise(cuts):
            part = weight[first:last]
            alone = torch.full_like(part, float("nan"))
            fill_planned_(alone, planned, LocalShard(tuple(weight.shape), (first, *[0] * (weight.ndim - 1))))
            if not torch.equal(bits_of(alone), bits_of(part)):
                return False
    return True


def _shards_verdict(shards: int, plan: Sequence[Planned], different: Sequence[str]) -> str:
    if different:
        return f"shards: {len(different)} of {len(plan)} tensors differ: {', '.join(different)}"
    return (
        f"shards: {len(plan)} tensors filled again as {shards} even and as {shards} uneven shards: all bits are equal"
    )
