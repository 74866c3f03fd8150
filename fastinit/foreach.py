"""foreach_fill_: a list of tensors in a few launches, to the bits of one fill each."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import add, le, mul
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastinit import op
from fastinit.backends import backend_for
from fastinit.fill import Fills, Place
from fastinit.init import fill_
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal, Uniform
from fastinit.law.lowering import lower
from fastinit.shard import dtensor
from fastinit.shard.described import boxes_of
from fastinit.shard.geometry import LocalShard, Shape, row_major_strides
from fastinit.shard.memory import Strided, shared
from fastinit.shard.placements import Box
from fastinit.shard.storage import check_memory, check_tensor, leaves_it_to_operators
from fastinit.stream import Key

_LAWS = (TruncatedNormal, Normal, Uniform)


def foreach_fill_(
    tensors: Iterable[Tensor],
    laws: Distribution | Sequence[Distribution],
    *,
    keys: Sequence[Key],
    shards: Sequence[LocalShard | None] | None = None,
) -> list[Tensor]:
    """Fill many tensors, in place: each to the bits that a fill of its own gives, all in a few launches.

    >>> experts = [torch.empty(1024, 512, dtype=torch.bfloat16) for _ in range(10_000)]
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
    replay. Under torch.compile each tensor is filled by an operator of its own.
    """
    tensors = list(tensors)
    laws = [laws] * len(tensors) if isinstance(laws, _LAWS) else list(laws)
    keys = list(keys)
    shards = [None] * len(tensors) if shards is None else list(shards)
    _check_lists(tensors, laws, keys, shards)
    if torch.compiler.is_compiling():
        for tensor, law, key, shard in zip(tensors, laws, keys, shards, strict=True):
            fill_(tensor, law, key=key, shard=shard)
        return tensors
    described = _described(tensors, laws, keys, shards)
    fill_many = [_fill_many(device, plain) for device, plain, _ in described]
    with torch.no_grad():
        for fill_many_, (_, plain, fills) in zip(fill_many, described, strict=True):
            fill_many_(plain, fills)
    torch.autograd.graph.increment_version([tensor for tensor in tensors if dtensor.is_dtensor(tensor)])
    return tensors


def _fill_many(device: torch.device, plain: list[Tensor]) -> Callable[[list[Tensor], Fills], None]:
    """What fills tensors of the device: its backend, or operators where one of the tensors leaves it to them."""
    if any(map(leaves_it_to_operators, set(map(type, plain)))):
        return _by_operators
    backend = backend_for(device.type)

    def by_backend(plain: list[Tensor], fills: Fills) -> None:
        backend.fill_many_(plain, fills)
        torch.autograd.graph.increment_version(plain)

    return by_backend


def _by_operators(plain: list[Tensor], fills: Fills) -> None:
    for k, view in enumerate(plain):
        fill = fills.one(k)
        op.fill(view, fill.distribution, fill.key, fill.shard)


def _check_lists(
    tensors: list[Tensor], laws: list[Distribution], keys: list[Key], shards: list[LocalShard | None]
) -> None:
    """The lists' lengths, and the types of what is in them."""
    lists = (
        ("tensors", tensors, (Tensor,), "a torch.Tensor"),
        ("laws", laws, _LAWS, "a TruncatedNormal, Normal or Uniform"),
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


def _described(
    tensors: list[Tensor], laws: list[Distribution], keys: list[Key], shards: list[LocalShard | None]
) -> list[tuple[torch.device, list[Tensor], Fills]]:
    """For each device its plain tensors that have elements, and their fills. Everything is checked."""
    distributions, law = _distinct(laws)
    _check_pairs(tensors, distributions, law)
    views, boxes, owner = _local(tensors, shards)
    places, devices, place, first_index = _placed(views, boxes, owner)
    fills = Fills(
        places,
        distributions,
        np.array(place, np.int64),
        np.array(law, np.int64)[owner],
        np.array(first_index, np.uint64),
        np.array([key.seed for key in keys], np.uint64)[owner],
        np.array([key.stream for key in keys], np.uint64)[owner],
    )
    if len(set(devices)) == 1 and devices[0] is not None:
        _check_apart(views, fills, owner)
        return [(devices[0], views, fills)]
    described = []
    for device in dict.fromkeys(device for device in devices if device is not None):
        chosen = np.flatnonzero(np.array([other == device for other in devices])[fills.place])
        described.append((device, [views[k] for k in chosen], fills.of(chosen)))
        _check_apart(*described[-1][1:], owner[chosen])
    return described


def _distinct(laws: list[Distribution]) -> tuple[list[Distribution], list[int]]:
    """The laws that differ, and which of them each one is."""
    numbers: dict[Distribution, int] = {}
    by_identity: dict[int, int] = {}  # to hash a law takes longer than all else that is done for a tensor
    for law in laws:
        if id(law) not in by_identity:
            by_identity[id(law)] = numbers.setdefault(law, len(numbers))
    return list(numbers), [by_identity[id(law)] for law in laws]


def _check_pairs(tensors: list[Tensor], distributions: list[Distribution], law: list[int]) -> None:
    """That each tensor has a dtype that can be filled, in which its law has a value."""
    first: dict[tuple[Any, ...], int] = {}
    for position, (tensor, number) in enumerate(zip(tensors, law, strict=True)):
        first.setdefault((number, tensor.dtype, tensor.layout), position)
    for (number, dtype, _), position in first.items():
        with _at(position):
            check_tensor(tensors[position])
            lower(distributions[number]).bounds(str(dtype).removeprefix("torch."))


def _local(
    tensors: list[Tensor], shards: list[LocalShard | None]
) -> tuple[list[Tensor], list[LocalShard | None], NDArray[np.int64]]:
    """The plain tensors, where each lies in its logical one, and which of the tensors each belongs to."""
    if not any(map(dtensor.is_dtensor_type, set(map(type, tensors)))):
        return tensors, shards, np.arange(len(tensors))
    views: list[Tensor] = []
    boxes: list[LocalShard | None] = []
    owner: list[int] = []
    known: dict[Hashable, tuple[Box, ...]] = {}
    for position, (tensor, shard) in enumerate(zip(tensors, shards, strict=True)):
        found: Iterable[tuple[Tensor, LocalShard | None]] = ((tensor, shard),)
        if dtensor.is_dtensor(tensor):
            try:  # which costs nothing where there is no error; a context manager does
                found = boxes_of(tensor, shard) if shard else dtensor.local_fills(tensor, known)
            except (TypeError, ValueError) as error:
                raise _named(position, error) from None
        for view, box in found:
            views.append(view)
            boxes.append(box)
            owner.append(position)
    return views, boxes, np.array(owner, np.int64)


def _placed(
    views: list[Tensor], boxes: list[LocalShard | None], owner: NDArray[np.int64]
) -> tuple[list[Place], list[torch.device | None], list[int], list[int]]:
    """The places that differ and their devices (None: nothing is filled there); each tensor's place and first index."""
    places: list[Place] = []
    devices: list[torch.device | None] = []
    known: dict[Hashable, tuple[int, Shape]] = {}
    place: list[int] = []
    first_index: list[int] = []
    for view, box in zip(views, boxes, strict=True):
        try:
            alike = (view.shape, view.stride(), view.dtype, view.device, None if box is None else box.global_shape)
        except RuntimeError:  # one without a shape, of which check_tensor says why
            with _at(owner[len(place)]):
                check_tensor(view)
            raise
        found = known.get(alike)
        if found is None:
            with _at(owner[len(place)]):
                ((_, whole),) = boxes_of(view, box)
            found = known[alike] = len(places), row_major_strides(whole.global_shape)
            dtype = str(view.dtype).removeprefix("torch.")
            places.append(Place(tuple(view.shape), view.stride(), dtype, whole.global_shape))
            devices.append(None if view.is_meta or view.numel() == 0 else view.device)
        number, strides = found
        place.append(number)
        if box is None:
            first_index.append(0)
            continue
        if not all(map(le, map(add, box.global_offset, view.shape), box.global_shape)):
            with _at(owner[len(first_index)]):
                box.check_holds(tuple(view.shape))
        first_index.append(sum(map(mul, box.global_offset, strides)))
    return places, devices, place, first_index


def _check_apart(plain: list[Tensor], fills: Fills, owner: NDArray[np.int64]) -> None:
    """That the tensors, all of one device, have their values in memory, and no two of them in the same."""
    if any(map(Tensor.is_neg, plain)):
        position = next(k for k, view in enumerate(plain) if view.is_neg())
        with _at(owner[position]):
            check_tensor(plain[position])
    if any(map(leaves_it_to_operators, set(map(type, plain)))):
        chosen = np.array([k for k, view in enumerate(plain) if not leaves_it_to_operators(type(view))], np.int64)
        plain, fills, owner = [plain[k] for k in chosen], fills.of(chosen), owner[chosen]
    layouts = [_strided(place) for place in fills.places]
    addresses = np.fromiter(map(Tensor.data_ptr, plain), np.int64, len(plain))
    for k in np.flatnonzero(addresses == 0):
        with _at(owner[k]):
            check_memory(plain[k])
    found = shared(addresses, layouts, fills.place)
    if found is not None:
        one, other = owner[list(found)]
        raise _named(other, ValueError(f"expected memory of its own, got some that tensors[{one}] has too"))


def _strided(place: Place) -> Strided:
    size: int = getattr(torch, place.dtype).itemsize
    return Strided(place.shape, tuple(size * stride for stride in place.strides), size)


@contextmanager
def _at(position: int) -> Iterator[None]:
    """Errors within name the tensor."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise _named(position, error) from None


def _named(position: int, error: Exception) -> Exception:
    return type(error)(f"tensors[{position}]: {error}")
