"""A model filled in the memory of the best device: the table of ``init`` without ``--out``, and its digest."""

from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from math import prod

import torch
from torch import nn

from fastinit.cli import progress
from fastinit.cli.device import backend_name, usable_device
from fastinit.cli.digest import model_digest
from fastinit.cli.memory import check_fits, choose_layers, free_bytes
from fastinit.cli.source import asked, asked_preset, by_role, heading, materialised, size_of
from fastinit.cli.stopwatch import Stopwatch
from fastinit.cli.table import FASTINIT, TORCH, roles_table, totals
from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.transformed import Constant
from fastinit.model.filling import fill_plan_, fill_planned_
from fastinit.model.planned import Planned
from fastinit.model.report import row_of
from fastinit.model.tiles import Computed, Tiled
from fastinit.shard.bits import bits_of
from fastinit.shard.geometry import LocalShard
from fastinit.shard.storage import dtype_name


def fill(arguments: Namespace) -> int:
    """Fill, and print a table and a digest; 1 when a shard's bits are not those of the whole, else 0."""
    device = usable_device(arguments.device)
    free = free_bytes(device)
    layers, reason = chosen_layers(arguments, free)
    wanted = asked(arguments, layers)
    plan = wanted.plan()  # what is wrong with it is said before memory is taken
    check_fits(size_of(plan), free)
    dtype = dtype_of(plan)
    elements = sum(planned.parameter.numel() for planned in plan)
    print(heading(wanted, plan, layers, reason))
    settings = f"{dtype_name(dtype)}, rules {wanted.said}, seed {arguments.seed}"
    print(f"{device}, {backend_name(device)} backend, {settings}", flush=True)

    plan = materialised(wanted, device)
    watch = Stopwatch(device)
    different = []
    with progress.bar(elements, "filling", " elements") as advance:
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
        with progress.bar(elements, "hashing", " elements") as advance:
            weights = {planned.name: planned.parameter for planned in plan}
            digest = model_digest(weights, lambda tensor: advance(tensor.numel()))
        print(f"digest: sha256 {digest} over the bits of {len(weights)} tensors")
    return 1 if different else 0


def chosen_layers(arguments: Namespace, free: int) -> tuple[int | None, str]:
    """Of a preset, as many layers as are asked for or fit, and why so many; None for any other model, which is filled whole."""
    found = asked_preset(arguments)
    if found is None:
        return None, "as it is"
    known, dtype = found
    return choose_layers(known, dtype.itemsize, free, arguments.layers)


def dtype_of(plan: Sequence[Planned]) -> torch.dtype:
    """The dtype that most of the elements have."""
    sizes: Counter[torch.dtype] = Counter()
    for planned in plan:
        sizes[planned.parameter.dtype] += planned.parameter.numel()
    return sizes.most_common(1)[0][0] if sizes else torch.get_default_dtype()


def compile_(planned: Planned) -> None:
    """Fill one element as planned, so that no compilation falls into the time that is measured."""
    if isinstance(planned.law, Computed):  # on the CPU, by torch
        return
    device = planned.parameter.device
    fill_planned_(torch.empty([1] * planned.parameter.ndim, dtype=planned.parameter.dtype, device=device), planned)


def _torch_fill(members: Sequence[Planned]) -> None:
    for planned in members:
        weight, law = planned.parameter, planned.law
        if isinstance(law, Tiled):  # the rest, as a padding row, is little
            law = max(law.tiles, key=lambda tile: prod(tile.shape)).law
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
    if not weight.ndim:
        return True
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
