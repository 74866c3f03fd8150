"""Kinds: what tensors that are alike have in common. A model of thousands has a few, and each is found out once."""

from collections.abc import Hashable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from fastinit.shard import dtensor
from fastinit.shard.geometry import Shape
from fastinit.shard.memory import Strided, strided_of
from fastinit.shard.storage import PLAIN, Memory, check_memory, check_tensor, dtype_name, located


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
        dense = local.layout is torch.strided and prod(shape) > 0
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
        local = tensor if self.logical is None else dtensor.local_of(tensor)
        if self.device.type == "meta":
            return located(local, self.strided)
        address = local.data_ptr()
        return Memory(self.device, address, self.strided) if address else None

    def check_own(self, tensor: Tensor) -> None:
        """What may be wrong with one of the kind alone, where another one has passed every check of a fill."""
        local = tensor
        if self.logical is not None:
            local = dtensor.local_of(tensor)
            dtensor.check_no_copy(tensor)
        if tensor.is_neg():
            check_tensor(tensor)
        end = local.storage_offset() * local.itemsize + self.span
        if not local.data_ptr() or end > local.untyped_storage().nbytes():
            check_memory(local)


class Kinds:
    """The kinds of some tensors that are all kept alive."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Kind] = {}

    def of(self, tensor: Tensor) -> Kind | None:
        """The kind of a tensor; None for one that has to be looked at by itself: no dense one, or of another class."""
        if type(tensor) in PLAIN:
            if tensor.layout is not torch.strided or tensor.is_nested:
                return None
            alike: Hashable = (tensor.dtype, tensor.device, tensor.shape, tensor.stride())
        else:
            if not dtensor.is_dtensor(tensor):
                return None
            local = dtensor.local_of(tensor)
            if type(local) not in PLAIN or local.layout is not torch.strided or local.is_nested:
                return None
            alike = (local.dtype, local.device, *dtensor.what_counts(tensor))
        kind = self._known.get(alike)
        if kind is None:
            kind = self._known[alike] = Kind.of(tensor)
        return kind
