"""Storages: what each holds, as far as it was seen. They are told apart by weak references: a freed address is used again."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import WeakIdKeyDictionary

from fastinit.recipe.boxes import View
from fastinit.recipe.values import Drawn, Foreign, Lost, Read, Same, State, Unwritten, Value
from fastinit.shard import dtensor
from fastinit.shard.geometry import Shape, overlaps

_UNWRITTEN = Unwritten()
_NOTHING = Same(0.0)
_PLAIN = (Tensor, nn.Parameter)
_MANY = 4096  # storages, after which those that are gone are looked for


class Storages:
    """The states of the storages that were written to.

    A ``DTensor`` stands for the whole logical tensor: a meta tensor of its shape, its stand-in, has the state. So a view of it is a
    view, also where torch hands out a copy.
    """

    def __init__(self) -> None:
        self._states: dict[int, State] = {}  # by address, which is no other storage's while a weak reference is held
        self._stand_ins: dict[int, Tensor] = {}
        self._references: dict[int, StorageWeakRef] = {}
        self._views: Any = WeakIdKeyDictionary()
        self._overwritten: dict[int, list[State]] = {}
        self.any_overwritten = False
        self._sweep = _MANY

    def read(self, tensor: Tensor) -> Value:
        """What a tensor holds now."""
        plain = self.stand_in(tensor)
        view = view_of(plain)
        state = self._states.get(_address(plain))
        if state is None:
            return self._unknown(tensor)
        if state.dtype != plain.dtype:
            return Lost("its bytes were read as another dtype")
        value = state.value
        if state.view == view:
            return value
        if isinstance(value, Same) and state.before is None and _inside(view, state.view):
            return Same(value.value, view.shape)
        # The elements of an expanded tensor are equal, and follow no law one by one.
        once = not overlaps(view.shape, view.strides) and state.before is None
        if once and isinstance(value, Drawn) and value.view is None and _inside(view, state.view):
            return Drawn(value.leaf, value.law, View(view.offset - state.view.offset, view.shape, view.strides))
        return Read(state, view)

    def write(self, tensor: Tensor, value: Value) -> None:
        """Note what a tensor holds from now on."""
        plain = self.stand_in(tensor)
        storage, view, dtype = plain.untyped_storage(), view_of(plain), plain.dtype
        address = storage._cdata
        before = self._states.get(address)
        whole = _fills(plain, view)
        if before is None and address not in self._references:
            self._references[address] = StorageWeakRef(storage)
        elif before is not None and before.dtype != dtype and not whole:
            elements = storage.nbytes() // plain.itemsize
            view, value, whole = View.dense((elements,)), Lost("its bytes were written as two dtypes"), True
        if whole:  # nothing from before is to be seen
            if before is not None and not isinstance(before.value, Unwritten):
                self._overwritten.setdefault(address, []).append(before)
                self.any_overwritten = True
            self._states[address] = State(None, view, value, _NOTHING, dtype)
        else:
            base = before.base if before is not None else self._unknown(tensor)
            while before is not None and before.view == view:
                before = before.before
            self._states[address] = State(before, view, value, base, dtype)
        if len(self._states) > self._sweep:
            self._forget()

    def state_of(self, tensor: Tensor) -> tuple[State | None, View]:
        """The state of a tensor's storage, None where nobody has written to it, and how the tensor lies in it."""
        plain = self.stand_in(tensor)
        return self._states.get(_address(plain)), view_of(plain)

    def state_in(self, memory: StorageWeakRef) -> State | None:
        """The state of a storage that may be gone: None then, as where nobody has written to it."""
        if memory.expired():
            return None
        stand_in = self._stand_ins.get(memory.cdata)
        return self._states.get(memory.cdata if stand_in is None else _address(stand_in))

    def overwritten(self, tensor: Tensor) -> list[State]:
        """What a tensor's storage held each time that all of it was written to, the oldest first."""
        return self._overwritten.get(_address(self.stand_in(tensor)), [])

    def stand_in(self, tensor: Tensor) -> Tensor:
        """The tensor itself, or what stands for a DTensor."""
        if type(tensor) in _PLAIN or not dtensor.is_dtensor(tensor):
            return tensor
        found: Tensor | None = self._views.get(tensor)
        if found is None:
            memory = memory_of(tensor)
            found = self._stand_ins.get(memory.cdata)
            if found is None or found.shape != tensor.shape:
                found = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
                self._stand_ins[memory.cdata] = found
                self._references[memory.cdata] = memory
        return found

    def is_copy(self, tensor: Tensor) -> bool:
        """Whether a DTensor is a view of another one, which torch may have made a copy of."""
        return dtensor.is_dtensor(tensor) and tensor in self._views

    def let_stand(self, tensor: Tensor, stand_in: Tensor) -> None:
        """Note what stands for a DTensor that is a view, where its memory alone would not tell.

        That takes a weak reference, and torch swaps no tensor that has one: materialising swaps parameters with detached ones.
        """
        found = self._stand_ins.get(memory_of(tensor).cdata)
        if found is None or _address(found) != _address(stand_in) or view_of(found) != view_of(stand_in):
            self._views[tensor] = stand_in

    def _unknown(self, tensor: Tensor) -> Value:
        """A storage that was not seen before."""
        if dtensor.is_dtensor(tensor) or tensor.is_meta:
            return _UNWRITTEN
        return Foreign(tensor.detach())

    def _forget(self) -> None:
        for address in [address for address, reference in self._references.items() if reference.expired()]:
            del self._references[address]
            self._states.pop(address, None)
            self._stand_ins.pop(address, None)
            self._overwritten.pop(address, None)
        self._sweep = 2 * len(self._states) + _MANY


def _fills(tensor: Tensor, view: View) -> bool:
    """Whether a tensor is each element of its storage, once."""
    nbytes = tensor.untyped_storage().nbytes()
    if tensor.is_contiguous() and tensor.nbytes == nbytes:  # as most are, told without looking at the strides
        return True
    return view.fills(nbytes // tensor.itemsize)


def view_of(tensor: Tensor) -> View:
    """How a plain tensor lies in its storage."""
    return _view(tensor.storage_offset(), tensor.shape, tensor.stride())


@lru_cache(
    maxsize=4096
)  # thousands of parameters lie alike, and each object that is kept is one for Python's collector
def _view(offset: int, shape: torch.Size, strides: Shape) -> View:
    return View(offset, tuple(shape), strides)


def memory_of(tensor: Tensor) -> StorageWeakRef:
    """The storage that has a tensor's elements, of a DTensor those of this rank."""
    plain = dtensor.local_of(tensor) if dtensor.is_dtensor(tensor) else tensor
    return StorageWeakRef(plain.untyped_storage())


def _address(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address


def _inside(view: View, other: View) -> bool:
    """Whether a view lies in a row-major one."""
    return other == View(other.offset, *View.dense(other.shape)[1:]) and (
        view.numel == 0 or (other.offset <= view.offset and view.end <= other.offset + other.numel)
    )
