"""foreach_fill_: a list of tensors in a few launches, to the bits of one fill each."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from fastinit import op
from fastinit.backends import backend_for
from fastinit.collector import paused
from fastinit.fill import Fills
from fastinit.init import fill_
from fastinit.law.distributions import DISTRIBUTIONS, Distribution
from fastinit.listed import described
from fastinit.shard import dtensor
from fastinit.shard.geometry import LocalShard
from fastinit.shard.kinds import Seen
from fastinit.shard.storage import any_wrapped, leaves_it_to_operators
from fastinit.stream import Key


def foreach_fill_(
    tensors: Iterable[Tensor],
    laws: Distribution | Sequence[Distribution],
    *,
    keys: Sequence[Key],
    shards: Sequence[LocalShard | None] | None = None,
) -> list[Tensor]:
    """Fill many tensors, in place: each to the bits that a fill of its own gives, all in a few launches.

    >>> from fastinit.law.distributions import TruncatedNormal
    >>> experts = [torch.empty(64, 32, dtype=torch.bfloat16) for _ in range(10_000)]
    >>> keys = [Key.of(f"experts.{i}.weight", seed=0) for i in range(10_000)]
    >>> experts = foreach_fill_(experts, TruncatedNormal(0.0, 0.02, -0.06, 0.06), keys=keys)

    Args:
        tensors: as :func:`fastinit.trunc_normal_` takes them, of any dtypes, shapes, strides and devices, mixed. Meta tensors
            are left untouched.
        laws: of fastinit.law.distributions; one for all, or one a tensor.
        keys: one a tensor; equal keys give equal values.
        shards: one a tensor, where a plain tensor lies in a larger logical tensor; None for one that is the whole.

    Returns:
        The same tensors.

    Raises:
        TypeError, ValueError: what a fill of one tensor raises, with the tensor's position; lists of different lengths;
            two tensors that have an element's memory in common (views that interleave have none).
        NotImplementedError: a device that no backend serves.

    All of that is checked before anything is written.

    On a GPU there is one launch for each dtype, regime of the law (lowering.py) and size of block, from one table that is
    copied without a sync. Tensors whose last dimension is not dense, and those that take longer to fill than to launch,
    get a launch of their own. So does every tensor under CUDA graph capture, where the table could not be kept for a
    replay. Under torch.compile each tensor is filled by an operator of its own, and so is each of a transform of torch.func.
    """
    tensors = _listed("tensors", tensors)
    laws = [laws] * len(tensors) if isinstance(laws, Distribution) else _listed("laws", laws)
    keys = _listed("keys", keys)
    shards = [None] * len(tensors) if shards is None else _listed("shards", shards)
    _check_lists(tensors, laws, keys, shards)
    fill_listed_(tensors, laws, keys, shards)
    return tensors


def fill_listed_(
    tensors: list[Tensor],
    laws: list[Distribution],
    keys: list[Key],
    shards: list[LocalShard | None],
    known: Seen | None = None,
) -> None:
    """The same, for a caller who knows that the lists are of one length and of the right types.

    ``known`` is what a plan has seen of the tensors, and checked.
    """
    if torch.compiler.is_compiling() or any_wrapped(tensors):
        for tensor, law, key, shard in zip(tensors, laws, keys, shards, strict=True):
            fill_(tensor, law, key=key, shard=shard)
        return
    groups = paused(lambda: described(tensors, laws, keys, shards, known))
    calls = [(_fill_many(device, plain), plain, fills) for device, plain, fills in groups]
    # What a class of somebody's own raises is raised before other tensors are written.
    for fill_many_, plain, fills in sorted(calls, key=lambda call: call[0] is not _by_operators):
        fill_many_(plain, fills)
    split = {kind for kind in set(map(type, tensors)) if dtensor.is_dtensor_type(kind)}
    if split:
        torch.autograd.graph.increment_version([tensor for tensor in tensors if type(tensor) in split])


def _fill_many(device: torch.device, plain: list[Tensor]) -> Callable[[list[Tensor], Fills], None]:
    """What fills tensors of the device: its backend, or operators where one of the tensors leaves it to them."""
    if any(map(leaves_it_to_operators, set(map(type, plain)))):
        return _by_operators
    backend = backend_for(device.type)

    def by_backend(plain: list[Tensor], fills: Fills) -> None:
        torch.autograd.graph.increment_version(plain)  # first, as a fill that is interrupted has written too
        backend.fill_many_(plain, fills)

    return by_backend


def _by_operators(plain: list[Tensor], fills: Fills) -> None:
    for k in sorted(range(len(plain)), key=lambda k: not leaves_it_to_operators(type(plain[k]))):
        fill = fills.one(k)
        op.fill(plain[k], fill.distribution, fill.key, fill.shard)


def _listed(name: str, given: Iterable[Any]) -> list[Any]:
    try:
        return list(given)
    except TypeError:
        raise TypeError(f"{name}: expected a list, got {given!r}") from None


def _check_lists(
    tensors: list[Tensor], laws: list[Distribution], keys: list[Key], shards: list[LocalShard | None]
) -> None:
    """The lists' lengths, and the types of what is in them."""
    lists = (
        ("tensors", tensors, (Tensor,), "a torch.Tensor"),
        ("laws", laws, DISTRIBUTIONS, "one of " + ", ".join(law.__name__ for law in DISTRIBUTIONS)),
        ("keys", keys, (Key,), "a fastinit.Key"),
        ("shards", shards, (LocalShard, type(None)), "a fastinit.LocalShard or None"),
    )
    for name, given, types, expected in lists:
        if len(given) != len(tensors):
            raise ValueError(f"{name}: expected one for each of {len(tensors)} tensors, got {len(given)}")
        if not all(issubclass(kind, types) for kind in set(map(type, given))):
            position, wrong = next((k, item) for k, item in enumerate(given) if not isinstance(item, types))
            came = type(wrong).__name__ if name == "tensors" else repr(wrong)
            raise TypeError(f"{name}[{position}]: expected {expected}, got {came}")
