"""Unchanged: what is recorded is afterwards what it was, whatever its initialisation wrote to real memory."""

from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass

from fastinit.recipe.operators import operator_of, tensors_in, written_by

_MARK = "_is_hf_initialized"  # by which transformers leaves out what it has initialised


@contextmanager
def unchanged() -> Iterator[Callable[[nn.Module], None]]:
    """Within it, the memory of a model may be written to, and its parameters and buffers be replaced.

    Afterwards all of that is as it was when the model was told to what is yielded. A storage is copied when it is first written to:
    numbers that are drawn are not written where nobody asks for them, so most never are. It is entered before what notes
    operators, of which it sees those that are run.
    """
    with ExitStack() as after:
        kept = _Kept()

        def watch(model: nn.Module) -> None:
            after.callback(_put_back(model, kept))

        with kept:
            yield watch


def _put_back(model: nn.Module, kept: "_Kept") -> Callable[[], None]:
    """What makes a model what it is now."""
    modules: list[Any] = list(model.modules())
    members: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (table, dict(table)) for module in modules for table in (module._parameters, module._buffers)
    ]
    held = list(
        {id(tensor): tensor for _, before in members for tensor in before.values() if tensor is not None}.values()
    )
    places = [(tensor, tensor.data) for tensor in held if _has_memory(tensor)]
    storages = {StorageWeakRef(storage) for tensor in held if not is_lazy(tensor) for storage in _storages(tensor)}
    marked = [(vars(each), vars(each).get(_MARK)) for each in (*modules, *held)]

    def put_back() -> None:
        kept.put_back(storages)
        for table, before in members:
            table.clear()
            table.update(before)
        for tensor, data in places:
            if tensor.untyped_storage()._cdata != data.untyped_storage()._cdata:  # it was given another memory
                tensor.data = data
        for attributes, mark in marked:
            attributes.pop(_MARK, None)
            if mark is not None:
                attributes[_MARK] = mark

    return put_back


def _has_memory(tensor: Any) -> bool:
    return not tensor.is_meta and not is_lazy(tensor) and not is_traceable_wrapper_subclass(tensor)


class _Kept(TorchDispatchMode):
    """Keeps what a storage holds that was not made here, before it is written to."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made: set[StorageWeakRef] = set()
        self._before: dict[StorageWeakRef, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operator = operator_of(function)
        for tensor in written_by(operator, args, kwargs):
            for storage in _storages(tensor):
                reference = StorageWeakRef(storage)
                if reference not in self._made and reference not in self._before:
                    self._before[reference] = storage, storage.clone()
        result = function(*args, **kwargs)
        if not operator.views and not operator.written:
            self._made.update(StorageWeakRef(storage) for tensor in tensors_in(result) for storage in _storages(tensor))
        return result

    def put_back(self, storages: Container[StorageWeakRef]) -> None:
        """What each of these held."""
        for storage, before in [kept for reference, kept in self._before.items() if reference in storages]:
            if storage.nbytes() != before.nbytes():
                storage.resize_(before.nbytes())
            storage.copy_(before)


def _storages(tensor: Any) -> list[torch.UntypedStorage]:
    """Where a tensor has its values: nowhere on the meta device, and those of a DTensor and its like are inside of it."""
    if tensor.is_meta:
        return []
    if is_traceable_wrapper_subclass(tensor):
        names, _ = tensor.__tensor_flatten__()
        return [storage for name in names for storage in _storages(getattr(tensor, name))]
    storage: torch.UntypedStorage = tensor.untyped_storage()
    return [] if storage.device.type == "meta" else [storage]  # as a fake tensor's
