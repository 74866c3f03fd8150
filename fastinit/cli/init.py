"""``python -m fastinit init PRESET``: fill the weights of a published architecture, every tensor by name."""

import shlex
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fastinit.backends import backend_for
from fastinit.cli import checkpoint, text
from fastinit.cli.digest import model_digest
from fastinit.cli.errors import UsageError
from fastinit.cli.memory import choose_layers, free_bytes, size_text
from fastinit.cli.report import FASTINIT, TORCH, kinds_table, totals
from fastinit.cli.rules import rule_for
from fastinit.cli.stopwatch import Stopwatch
from fastinit.init import fill_
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal
from fastinit.law.lowering import lower
from fastinit.model.presets import ParameterSpec, Preset, preset
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key
from fastinit.version import STREAM_VERSION

# What a checkpoint's metadata say, each with its type: all that its values follow from.
RECIPE = {
    "preset": str,
    "layers": int,
    "method": str,
    "std": float,
    "seed": int,
    "dtype": str,
    "stream_version": int,
}
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, slots=True)
class Planned:
    """One parameter of the model: what it is, the law of its values (None: ones), and its key."""

    spec: ParameterSpec
    law: Distribution | None
    key: Key


def run(arguments: Namespace) -> int:
    """Fill, and print a table and a digest; 1 when a shard's bits are not those of the whole, else 0."""
    if dist.is_torchelastic_launched():
        from fastinit.cli import distributed  # imports torch.distributed.tensor

        return distributed.run(
            arguments,
            lambda model, layers: asked_plan(model, layers, arguments),
            fill_planned,
        )
    if arguments.tp * arguments.ep > 1:
        raise UsageError("--tp, --ep: expected several ranks, got one process: start them with torchrun")
    model = preset(arguments.preset)
    dtype = getattr(torch, arguments.dtype or model.dtype)
    if arguments.out is not None:
        return _write(arguments, model, dtype)
    if arguments.resume:
        raise UsageError("--resume: expected --out, the checkpoint to go on with")
    device = usable_device(arguments.device)
    layers, reason = choose_layers(model, dtype.itemsize, free_bytes(device), arguments.layers)
    plan = asked_plan(model, layers, arguments)
    elements = sum(planned.spec.numel for planned in plan)
    size = size_text(elements * dtype.itemsize)
    backend = backend_for(device.type).__name__.rpartition(".")[2]
    print(f"{model.name}: {model.model}, {model.parameters:,} parameters ({model.sources[0]})")
    print(f"{layers} of {model.num_layers} layers ({reason}): {elements:,} elements, {size}")
    settings = f"{str(dtype)[6:]}, method {arguments.method}, seed {arguments.seed}"
    print(f"{device}, {backend} backend, {settings}", flush=True)

    weights = {planned.spec.name: _touched(planned.spec, dtype, device) for planned in plan}
    watch = Stopwatch(device)
    different = []
    _compile(plan, weights)
    with text.bar(elements, "filling") as advance:
        for planned in plan:
            weight = weights[planned.spec.name]
            if arguments.compare:
                watch.time((TORCH, planned.spec.kind), partial(_torch_fill, weight, planned.law))
            watch.time((FASTINIT, planned.spec.kind), partial(fill_planned, weight, planned))
            if arguments.shards and not _same_in_shards(weight, planned, arguments.shards):
                different.append(planned.spec.name)
            advance(planned.spec.numel)

    print("\n" + kinds_table([(p.spec, p.law) for p in plan], watch, dtype.itemsize, arguments.compare))
    print("\n" + totals([(p.spec, p.law) for p in plan], watch, dtype.itemsize, arguments.compare))
    if arguments.shards:
        print(_shards_verdict(arguments.shards, plan, different))
    if arguments.digest:
        with text.bar(elements, "hashing") as advance:
            digest = model_digest(weights, lambda tensor: advance(tensor.numel()))
        print(f"digest: sha256 {digest} over the bits of {len(weights)} tensors")
    return 1 if different else 0


def planned_parameters(model: Preset, layers: int, method: str, std: float, seed: int) -> list[Planned]:
    """Every parameter of the preset's first layers, with its law and its key.

    Raises ``ValueError`` for numbers that no fill can be made of: a seed beyond 64 bits, a std beyond fp32.
    """
    plan = [Planned(spec, rule_for(spec, model, method, std), Key.of(spec.name, seed)) for spec in model.specs(layers)]
    for law in {planned.law for planned in plan if planned.law is not None}:
        lower(law)
    return plan


def asked_plan(model: Preset, layers: int, arguments: Namespace) -> list[Planned]:
    """The plan that the options of a command ask for."""
    try:
        return planned_parameters(model, layers, arguments.method, arguments.std, arguments.seed)
    except ValueError as error:
        raise UsageError(str(error)) from None


def fill_planned(weight: Tensor, planned: Planned, shard: LocalShard | None = None) -> None:
    """Fill a parameter, or the part of it that the shard says."""
    if planned.law is None:
        with torch.no_grad():
            weight.fill_(1)
    else:
        fill_(weight, planned.law, key=planned.key, shard=shard)


def _write(arguments: Namespace, model: Preset, dtype: torch.dtype) -> int:
    """Write a checkpoint instead of holding the model: a tensor at a time, so every layer is written by default."""
    ignored = [f"--{name}" for name in ("shards", "compare", "device") if getattr(arguments, name)]
    ignored += [] if arguments.digest else ["--no-digest"]
    if ignored:
        raise UsageError(
            f"{', '.join(ignored)}: expected without --out, which fills files on the CPU and prints no digest"
        )
    layers = arguments.layers or model.num_layers
    if layers > model.num_layers:
        raise UsageError(f"--layers: expected at most {model.num_layers}, got {layers}")
    plan = asked_plan(model, layers, arguments)
    by_name = {planned.spec.name: planned for planned in plan}
    recipe = {
        "preset": model.name,
        "layers": layers,
        "method": arguments.method,
        "std": arguments.std,
        "seed": arguments.seed,
        "dtype": str(dtype).removeprefix("torch."),
        "stream_version": STREAM_VERSION,
    }
    shapes = {name: tuple(planned.spec.shape) for name, planned in by_name.items()}
    elements = sum(planned.spec.numel for planned in plan)
    with text.bar(elements, "writing") as advance:
        proven = checkpoint.write(
            Path(arguments.out),
            shapes,
            dtype,
            recipe,
            lambda name, tensor, shard: fill_planned(tensor, by_name[name], shard),
            advance,
            resume=arguments.resume,
        )
    size = size_text(elements * dtype.itemsize)
    if arguments.resume:
        print(f"{proven} of {len(plan)} files were there, and proved to be right")
    print(f"{text.shown(arguments.out)}: {len(plan)} tensors of {model.name}, {elements:,} elements, {size}")
    path = f"./{arguments.out}" if arguments.out.startswith("-") else arguments.out  # no option
    print(f"prove it at any time: fastinit verify {shlex.quote(path)}")
    return 0


def usable_device(asked: str | None) -> torch.device:
    """The device that was asked for, or the best there is; ``UsageError`` where there is no such device."""
    if asked is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
        backend_for(device.type)
        torch.empty(1, device=device)
    except (
        RuntimeError,
        AssertionError,
        NotImplementedError,
    ) as error:  # torch's answers to a wrong or an absent device
        raise UsageError(f"--device: {asked!r} cannot be used: {str(error).splitlines()[0]}") from None
    return device


def _touched(spec: ParameterSpec, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory for one parameter, written once: the first touch can cost the operating system more than the fill."""
    return torch.empty(spec.shape, dtype=dtype, device=device).fill_(float("nan"))


def _compile(plan: list[Planned], weights: dict[str, Tensor]) -> None:
    """Fill a little of one tensor of each kind, so that no compilation falls into the measured time."""
    for planned in {planned.spec.kind: planned for planned in plan}.values():
        if planned.law is not None:
            weight = weights[planned.spec.name]
            fill_(weight[:1], planned.law, key=planned.key, shard=LocalShard.whole(planned.spec.shape))


def _torch_fill(weight: Tensor, law: Distribution | None) -> None:
    if law is None:
        weight.fill_(1)
    elif isinstance(law, Normal):
        nn.init.normal_(weight, law.mean, law.std)
    elif isinstance(law, TruncatedNormal):
        nn.init.trunc_normal_(weight, law.mean, law.std, law.a, law.b)
    else:
        nn.init.uniform_(weight, law.a, law.b)


def shard_cuts(rows: int, shards: int) -> Iterator[list[int]]:
    """Where to cut ``rows`` into that many shards: evenly, and into parts that grow like 1, 2, 3; some may be empty.

    >>> list(shard_cuts(10, 3))
    [[0, 4, 8, 10], [0, 1, 5, 10]]
    """
    size = -(-rows // shards)
    yield [min(k * size, rows) for k in range(shards + 1)]
    yield [rows * k * (k + 1) // (shards * (shards + 1)) for k in range(shards + 1)]


def _same_in_shards(weight: Tensor, planned: Planned, shards: int) -> bool:
    """Whether every shard along dim 0, filled on its own, has the bits of that part of the whole."""
    if planned.law is None:
        return True
    integers = _BITS[weight.element_size()]
    for cuts in shard_cuts(weight.shape[0], shards):
        for first, last in pairwise(cuts):
            part = weight[first:last]
            box = LocalShard(tuple(weight.shape), (first, *[0] * (weight.ndim - 1)))
            alone = fill_(torch.full_like(part, float("nan")), planned.law, key=planned.key, shard=box)
            if not torch.equal(alone.view(integers), part.view(integers)):
                return False
    return True


def _shards_verdict(shards: int, plan: list[Planned], different: list[str]) -> str:
    random = sum(planned.law is not None for planned in plan)
    if different:
        return f"shards: {len(different)} of {random} tensors differ: {', '.join(different)}"
    return f"shards: {random} tensors filled again as {shards} even and as {shards} uneven shards: all bits are equal"
