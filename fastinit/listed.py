"""A list of tensors as the columns that a backend fills by: its places, laws and keys, with every check of it."""

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from operator import add, le, mul
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastinit.fill import Fills, Place
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal, Uniform
from fastinit.law.lowering import lower
from fastinit.shard import dtensor
from fastinit.shard.described import boxes_of
from fastinit.shard.geometry import LocalShard, Shape, row_major_strides
from fastinit.shard.memory import Strided, shared
from fastinit.shard.storage import check_memory, check_tensor, leaves_it_to_operators
from fastinit.stream import Key

_LAWS = (TruncatedNormal, Normal, Uniform)


def described(
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
    known = dtensor.KnownBoxes()
    for position, (tensor, shard) in enumerate(zip(tensors, shards, strict=True)):
        found: Iterable[tuple[Tensor, LocalShard | None]] = ((tensor, shard),)
        if dtensor.is_dtensor(tensor):
            try:  # which costs nothing where there is no error; a context manager does
                found = boxes_of(tensor, shard) if shard else dtensor.fills_by(known.of(tensor), tensor)
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
    starts: dict[tuple[int, int], int] = {}  # by box, all of which are kept alive, and place
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
        start = starts.get((id(box), number))
        if start is None:
            if not all(map(le, map(add, box.global_offset, view.shape), box.global_shape)):
                with _at(owner[len(first_index)]):
                    box.check_holds(tuple(view.shape))
            start = starts[id(box), number] = sum(map(mul, box.global_offset, strides))
        first_index.append(start)
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
    offsets = np.fromiter(map(Tensor.storage_offset, plain), np.int64, len(plain))
    held = np.fromiter((tensor.untyped_storage().nbytes() for tensor in plain), np.int64, len(plain))
    sizes = np.array([(known.span, known.itemsize) for known in layouts], np.int64).reshape(-1, 2)[fills.place]
    for k in np.flatnonzero((addresses == 0) | (sizes[:, 0] + sizes[:, 1] * offsets > held)):
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
