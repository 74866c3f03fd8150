"""foreach_fill_: a list of tensors in a few launches, to the bits of one fill each."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import add, le, mul
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastinit import dtensor, op
from fastinit.backends import backend_for
from fastinit.distributions import Distribution, Normal, TruncatedNormal, Uniform
from fastinit.fill import Fills, Place
from fastinit.geometry import LocalShard, Shape, row_major_strides
from fastinit.init import boxes_of, check_tensor, fill_
from fastinit.lowering import lower
from fastinit.placements import Box
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
            are left untouched. That no two of them share memory is not checked.
        laws: of fastinit.distributions; one for all, or one a tensor.
        keys: one a tensor; equal keys give equal values.
        shards: one a tensor, where a plain tensor lies in a larger logical tensor; None for one that is the whole.

    Returns:
        The same tensors.

    Raises:
        TypeError, ValueError: what a fill of one tensor raises, with the tensor's position; lists of different lengths.
            All of it before anything is written.

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
    with torch.no_grad():
        for device, plain, fills in _described(tensors, laws, keys, shards):
            if any(map(_has_no_memory, set(map(type, plain)))):
                for k, view in enumerate(plain):
                    fill = fills.one(k)
                    op.fill(view, fill.distribution, fill.key, fill.shard)
            else:
                backend_for(device.type).fill_many_(plain, fills)
                torch.autograd.graph.increment_version(plain)
    torch.autograd.graph.increment_version([tensor for tensor in tensors if dtensor.is_dtensor(tensor)])
    return tensors


def _has_no_memory(kind: type[Tensor]) -> bool:
    """Whether tensors of the type, fake ones and their like, leave it to operators what is done to them."""
    return kind.__torch_dispatch__ is not Tensor.__torch_dispatch__


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
        return [(devices[0], views, fills)]
    described = []
    for device in dict.fromkeys(device for device in devices if device is not None):
        chosen = np.flatnonzero(np.array([other == device for other in devices])[fills.place])
        described.append((device, [views[k] for k in chosen], fills.of(chosen)))
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
        alike = (view.shape, view.stride(), view.dtype, view.device, None if box is None else box.global_shape)
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


@contextmanager
def _at(position: int) -> Iterator[None]:
    """Errors within name the tensor."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise _named(position, error) from None


def _named(position: int, error: Exception) -> Exception:
    return type(error)(f"tensors[{position}]: {error}")
