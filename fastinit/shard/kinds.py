"""Kinds: what tensors that are alike have in common. A model of thousands has a few, and each is found out once."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fastinit.shard import dtensor
from fastinit.shard.geometry import Shape
from fastinit.shard.memory import Strided, strided_of
from fastinit.shard.storage import PLAIN, Memory, dtype_name, located


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """All that is the same for tensors which differ in memory alone; equal to itself only.

    ``logical`` is None for a plain tensor. ``strided`` is how the elements of this rank lie in memory, None without any, and
    ``span`` the bytes from the first to the end of the last.
    """

    dtype: str
    device: torch.device
    global_shape: Shape
    local_shape: Shape
    strided: Strided | None
    span: int
    logical: Hashable
    placements: str

    @classmethod
    def of(cls, tensor: Tensor) -> "Kind":
        """The kind of a tensor that has a shape, which is no other one's."""
        logical = dtensor.logical(tensor)
        local = tensor if logical is None else dtensor.local_of(tensor)
        shape = tuple(local.shape)
        dense = local.layout is torch.strided and 0 not in shape
        strided = strided_of(shape, local.stride(), local.element_size()) if dense else None
        return cls(
            dtype=dtype_name(tensor.dtype),
            device=local.device,
            global_shape=tuple(tensor.shape),
            local_shape=shape,
            strided=strided,
            span=strided.span if strided else 0,
            logical=logical,
            placements="" if logical is None else dtensor.placements_text(tensor),
        )

    def memory(self, tensor: Tensor) -> Memory | None:
        """Where the elements of one of the kind lie on this rank."""
        if self.strided is None:
            return None
        return located(tensor if self.logical is None else dtensor.local_of(tensor), self.strided)


class Seen(NamedTuple):
    """What one look at each of some tensors tells.

    ``kinds``: None for a tensor that has to be looked at by itself: no dense one, or of another class. ``addresses``: where the
    first element on this rank lies, 0 where there is none, None where an address is not all that there is to know. ``suspects``:
    the positions of those with which something may be wrong that is not with others of their kind.
    """

    kinds: list[Kind | None]
    addresses: list[int | None]
    suspects: list[int]


def seen(tensors: Sequence[Tensor]) -> Seen:
    """Look at each of some tensors once, while it is in the processor's caches."""
    known: dict[
        Hashable, tuple[Kind, int, int, int | None]
    ] = {}  # with its span and itemsize, and the address without memory
    classes: dict[type, bool] = {}  # whether they are DTensors
    splits: dict[Hashable, int] = {}
    last: Hashable = None  # to compare placements takes less time than to hash them
    kinds: list[Kind | None] = []
    addresses: list[int | None] = []
    suspects: list[int] = []
    for tensor in tensors:
        local, logical = tensor, None
        if type(tensor) not in PLAIN:
            is_dtensor = classes.get(type(tensor))
            if is_dtensor is None:
                is_dtensor = classes[type(tensor)] = dtensor.is_dtensor_type(type(tensor))
            if is_dtensor:
                split = dtensor.split_of(tensor)
                if split != last:
                    last, number = split, splits.setdefault(split, len(splits))
                local, logical = dtensor.local_of(tensor), (number, tensor.shape)
        if type(local) not in PLAIN or local.layout is not torch.strided or local.is_nested:
            kinds.append(None)
            addresses.append(None)
            continue
        alike = local.dtype, local.device, local.shape, local.stride(), logical
        found = known.get(alike)
        if found is None:
            kind = Kind.of(tensor)
            none = None if kind.device.type == "meta" and kind.span else 0
            found = known[alike] = kind, kind.span, local.itemsize, none
        kind, span, itemsize, address = found
        if span and address is not None:
            address = local.data_ptr()
            end = local.storage_offset() * itemsize + span
            if not address or local.is_neg() or end > local.untyped_storage().nbytes():
                suspects.append(len(kinds))
        if logical is not None and dtensor.is_view(tensor):
            suspects.append(len(kinds))
        kinds.append(kind)
        addresses.append(address)
    return Seen(kinds, addresses, suspects)


def locals_of(tensors: Sequence[Tensor], kinds: Sequence[Kind | None]) -> list[Tensor]:
    """What this rank has of each: the tensor itself, or a DTensor's local one."""
    split = {kind for kind in set(kinds) if kind is None or kind.logical is not None}
    if not split:
        return list(tensors)
    return [
        dtensor.local_of(tensor) if kind in split and (kind or dtensor.is_dtensor(tensor)) else tensor
        for tensor, kind in zip(tensors, kinds, strict=True)
    ]
