"""Kinds: what tensors that are alike have in common. A model of thousands has a few, and each is found out once."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fastinit.shard import dtensor
from fastinit.shard.geometry import Shape
from fastinit.shard.memory import Strided, strided_of
from fastinit.shard.storage import PLAIN, Memory, addresses_of, dtype_name, located, without_memory


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

    @property
    def has_memory(self) -> bool:
        """Whether there are elements on this rank, in memory that has addresses."""
        return self.strided is not None and self.device.type != "meta"

    def memory(self, tensor: Tensor) -> Memory | None:
        """Where the elements of one of the kind lie on this rank."""
        if self.strided is None:
            return None
        return located(tensor if self.logical is None else dtensor.local_of(tensor), self.strided)


def kinds_of(tensors: Sequence[Tensor]) -> list[Kind | None]:
    """The kind of each of some tensors; None for one that has to be looked at by itself: no dense one, or of another class."""
    known: dict[Hashable, Kind] = {}
    split: dict[type, bool] = {}  # whether tensors of a class are DTensors
    kinds: list[Kind | None] = []
    for tensor in tensors:
        local, logical = tensor, None
        if type(tensor) not in PLAIN:
            of = type(tensor)
            if of not in split:
                split[of] = dtensor.is_dtensor_type(of)
            if not split[of]:
                kinds.append(None)
                continue
            local, logical = dtensor.local_of(tensor), dtensor.split_of(tensor)
        if type(local) not in PLAIN or local.layout is not torch.strided or local.is_nested:
            kinds.append(None)
            continue
        alike = local.dtype, local.device, local.shape, local.stride(), logical
        kind = known.get(alike)
        if kind is None:
            kind = known[alike] = Kind.of(tensor)
        kinds.append(kind)
    return kinds


def locals_of(tensors: Sequence[Tensor], kinds: Sequence[Kind | None]) -> list[Tensor]:
    """What this rank has of each: the tensor itself, or a DTensor's local one."""
    split = {kind for kind in set(kinds) if kind is None or kind.logical is not None}
    if not split:
        return list(tensors)
    return [
        dtensor.local_of(tensor) if kind in split and (kind or dtensor.is_dtensor(tensor)) else tensor
        for tensor, kind in zip(tensors, kinds, strict=True)
    ]


def suspects(tensors: Sequence[Tensor], kinds: Sequence[Kind]) -> list[int]:
    """The positions of tensors with which something may be wrong that is not with others of their kind."""
    spans = {kind: (kind.span, kind.strided.itemsize) if kind.has_memory and kind.strided else (0, 0) for kind in set(kinds)}
    local = locals_of(tensors, kinds)
    sizes = np.array([spans[kind] for kind in kinds], np.int64).reshape(-1, 2)
    found = without_memory(local, addresses_of(local), *sizes.T).tolist()
    if any(map(Tensor.is_neg, tensors)):
        found += [k for k, tensor in enumerate(tensors) if tensor.is_neg()]
    return found + slices(tensors, kinds)


def slices(tensors: Sequence[Tensor], kinds: Sequence[Kind | None]) -> list[int]:
    """The positions of DTensors that are views of another one, or copies that pass for them."""
    split = {kind for kind in set(kinds) if kind is not None and kind.logical is not None}
    if not split:
        return []
    return [k for k, kind in enumerate(kinds) if kind in split and dtensor.is_view(tensors[k])]
