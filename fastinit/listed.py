"""A list of tensors as the columns that a backend fills by: its places, laws and keys, with every check of it."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastinit.fill import Fills, Place
from fastinit.law.distributions import Distribution
from fastinit.law.lowering import lower
from fastinit.shard import dtensor
from fastinit.shard.described import boxes_of
from fastinit.shard.geometry import LocalShard
from fastinit.shard.kinds import Kind, Seen, locals_of, seen
from fastinit.shard.memory import Strided, shared
from fastinit.shard.storage import check_memory, check_tensor, dtype_name, leaves_it_to_operators
from fastinit.stream import Key


class _Held(NamedTuple):
    """What one fill fills of a tensor that this rank has: all of the local one (``slices`` is None), or a part.

    ``device`` is None where nothing is to be filled.
    """

    slices: tuple[slice, ...] | None
    place: int
    first_index: int
    device: torch.device | None


def described(
    tensors: list[Tensor],
    laws: list[Distribution],
    keys: list[Key],
    shards: list[LocalShard | None],
    known: Seen | None = None,
) -> list[tuple[torch.device, list[Tensor], Fills]]:
    """For each device its plain tensors that have elements, and their fills. Everything is checked.

    ``known`` is what a plan has seen, and checked, of tensors that are all there is to fill.
    """
    kinds, addresses, suspects = seen(tensors) if known is None else known
    distributions, law = _distinct(laws)
    if known is None:
        _check_pairs(tensors, distributions, law, kinds)
    places, held, piece, owner = _located(tensors, shards, kinds, suspects)
    views = locals_of(tensors, kinds)
    if len(owner) != len(tensors) or any(part.slices is not None for part in held):
        whole = views
        views = [
            whole[k] if held[number].slices is None else whole[k][held[number].slices]
            for k, number in zip(owner.tolist(), piece.tolist(), strict=True)
        ]
    fills = Fills(
        places,
        distributions,
        np.array([part.place for part in held], np.int64)[piece],
        np.array(law, np.int64)[owner],
        np.array([part.first_index for part in held], np.uint64)[piece],
        np.array([key.seed for key in keys], np.uint64)[owner],
        np.array([key.stream for key in keys], np.uint64)[owner],
    )
    devices = dict.fromkeys(part.device for part in held)
    if len(devices) == 1 and None not in devices:
        # What a plan has seen is so still where the addresses are; those of fake tensors are not to be asked for.
        if known is None or None in addresses or addresses != list(map(Tensor.data_ptr, views)):
            _check_apart(views, fills, owner)
        return [(device, views, fills) for device in devices if device is not None]
    described = []
    for device in devices:
        if device is not None:
            chosen = np.flatnonzero(np.array([part.device == device for part in held])[piece])
            described.append((device, [views[k] for k in chosen], fills.of(chosen)))
            _check_apart(*described[-1][1:], owner[chosen])
    return described


def _distinct(laws: list[Distribution]) -> tuple[list[Distribution], list[int]]:
    """The laws that differ, and which of them each one is."""
    numbers: dict[Distribution, int] = {}
    by_identity = {id(law): law for law in laws}  # to hash a law takes longer than all else that is done for a tensor
    number = {identity: numbers.setdefault(law, len(numbers)) for identity, law in by_identity.items()}
    return list(numbers), [number[id(law)] for law in laws]


def _check_pairs(
    tensors: list[Tensor], distributions: list[Distribution], law: list[int], kinds: Sequence[Kind | None]
) -> None:
    """That each tensor has a dtype that can be filled, in which its law has a value."""
    first: dict[tuple[int, Hashable], int] = {}
    for position, pair in enumerate(zip(law, kinds, strict=True)):
        first.setdefault(pair if pair[1] is not None else (pair[0], position), position)
    for (number, _), position in first.items():
        with _at(position):
            check_tensor(tensors[position])
            lower(distributions[number]).bounds(dtype_name(tensors[position].dtype))


def _located(
    tensors: list[Tensor], shards: list[LocalShard | None], kinds: Sequence[Kind | None], alone: list[int]
) -> tuple[list[Place], list[_Held], NDArray[np.int64], NDArray[np.int64]]:
    """The places that differ, all that is held and differs, and for each fill which of that it is, and whose.

    Tensors of a kind hold the same, if they have no shard or the same one; those that are ``alone`` are looked at too.
    """
    first: dict[Hashable, int] = {}
    like = [
        first.setdefault((id(tensor) if kind is None else kind, id(shard)), position)
        for position, (tensor, kind, shard) in enumerate(zip(tensors, kinds, shards, strict=True))
    ]
    places: dict[Place, int] = {}
    held: list[_Held] = []
    # By the first that is alike: where its parts are among those that are held, and how many.
    runs = np.zeros((len(tensors), 2), np.int64)
    for position in sorted({*first.values(), *alone}):
        with _at(position):
            parts = _parts(tensors[position], shards[position], places)
        if like[position] == position:
            runs[position] = len(held), len(parts)
            held += parts
    begins, counts = runs[like].reshape(-1, 2).T
    owner = np.repeat(np.arange(len(tensors)), counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return list(places), held, begins[owner] + within, owner


def _parts(tensor: Tensor, shard: LocalShard | None, places: dict[Place, int]) -> list[_Held]:
    """What is held of one tensor; its places are noted, where they are new."""
    found: list[tuple[tuple[slice, ...] | None, Tensor, LocalShard]]
    if shard is None and dtensor.is_dtensor(tensor):
        dtensor.check_no_copy(tensor)
        local, boxes = dtensor.local_of(tensor), dtensor.boxes_of(tensor)
        found = [(box.local, local[box.local], box.shard) for box in boxes]
        if len(boxes) == 1:
            found = [(None, local, boxes[0].shard)]
    else:
        found = [(None, view, box) for view, box in boxes_of(tensor, shard)]
    parts = []
    for part, view, box in found:
        place = Place(tuple(view.shape), view.stride(), dtype_name(view.dtype), box.global_shape)
        device = None if view.is_meta or view.numel() == 0 else view.device
        parts.append(_Held(part, places.setdefault(place, len(places)), box.first_index, device))
    return parts


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
