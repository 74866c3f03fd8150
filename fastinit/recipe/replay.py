"""Replay: a value computed again, in fp64 on the CPU, from numbers that are drawn by key."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from fastinit.model.filling import fill_law_
from fastinit.recipe.intermediate import TimeStep, law_of
from fastinit.recipe.operators import operator_of, tensors_in, written_by
from fastinit.recipe.places import Placed
from fastinit.recipe.values import (
    VALUES,
    Call,
    Drawn,
    Foreign,
    Leaf,
    Literal,
    Lost,
    Read,
    Same,
    Unwritten,
    Value,
    inputs_of,
)
from fastinit.stream import Key

_UNUSED = {"pin_memory", "generator"}
_lock = threading.Lock()
_UNSEEN = (Unwritten, Lost)  # where those are written, and not written over, a parameter is refused


def value_of(value: Value, placed: Mapping[Leaf, Placed], seed: int) -> Tensor:
    """A value, with the numbers of its leaves from where they are placed."""
    with _lock:
        default = (
            torch.get_default_dtype()
        )  # one for all threads, on which it depends what torch makes of whole numbers
        torch.set_default_dtype(torch.float32)
        try:
            return _Replay(placed, seed).of(value)
        finally:
            torch.set_default_dtype(default)


class _Replay:
    def __init__(self, placed: Mapping[Leaf, Placed], seed: int) -> None:
        self.placed = placed
        self.seed = seed
        self.known: dict[int, Tensor] = {}  # as long as something is still to be computed from them

    def of(self, value: Value) -> Tensor:
        """A value. Each that it is made from is computed once, and let go when the last that needs it is there.

        What it is made from comes first, so that a long computation is no deep recursion.
        """
        needed = _times_needed(value)
        computed: set[int] = set()
        waiting = [value]
        while waiting:
            last = waiting[-1]
            missing = [other for other in _made_from(last) if id(other) not in computed]
            if missing and id(last) not in computed:
                waiting += missing
                continue
            waiting.pop()
            if id(last) in computed:
                continue
            self.known[id(last)] = self._computed(last)
            computed.add(id(last))
            for other in _made_from(last):
                needed[id(other)] -= 1
                if not needed[id(other)]:
                    del self.known[id(other)]
        return self.known.pop(id(value))

    def _known(self, value: Value) -> Tensor:
        """One that was computed; read only."""
        return self.known[id(value)]

    def _computed(self, value: Value) -> Tensor:
        match value:
            case Drawn(leaf, law, view):
                drawn = self._drawn(leaf, law)
                return drawn if view is None else drawn.as_strided(view.shape, view.strides, view.offset)
            case Same(number, shape):
                return torch.full(shape, number, dtype=torch.float64, device="cpu")
            case Literal(tensor) | Foreign(tensor):
                return _widened(tensor)
            case Read():
                return self._read(value)
            case Call():
                return self._called(value)
        raise AssertionError(f"{value} was to be refused")

    def _drawn(self, leaf: Leaf, law: Any) -> Tensor:
        """fp32 values, as any tensor of that stream would get them; row-major."""
        placed = self.placed.get(leaf)
        if placed is None:  # all of them are written over: bind gives every leaf that is seen a place
            return torch.zeros(leaf.shape, dtype=torch.float64, device="cpu")
        whole = torch.empty(placed.shape, dtype=torch.float32, device="cpu")
        step = law if isinstance(law, TimeStep) else None
        fill_law_(whole, step.logarithm if step else law_of(law), key=Key.of(placed.stream, self.seed))
        found = whole.as_strided(placed.view.shape, placed.view.strides, placed.view.offset).double().contiguous()
        return step.of(found) if step else found

    def _read(self, value: Read) -> Tensor:
        """The writes to the storage, done again."""
        state, view = value.state, value.view
        writes = [(view, value) for view, value in state.writes() if not isinstance(value, _UNSEEN)]
        size = max([view.end, *(written.end for written, _ in writes)])
        values = [self._known(value) for _, value in writes]
        storage = torch.full((size,), 0, dtype=wide(state.dtype), device="cpu")
        if isinstance(state.base, Foreign):
            held = state.base.tensor
            whole = held.as_strided((min(size, held.untyped_storage().nbytes() // held.itemsize),), (1,), 0)
            storage[: len(whole)].copy_(whole)
        for (written, _), found in zip(reversed(writes), reversed(values), strict=True):
            storage.as_strided(written.shape, written.strides, written.offset).copy_(found)
        return storage.as_strided(view.shape, view.strides, view.offset)

    def _called(self, call: Call) -> Tensor:
        operator = operator_of(call.function)
        args, kwargs = tree_map_only(VALUES, self._known, (call.args, call.kwargs))
        kwargs = settings(kwargs)
        written = {position for position, _ in operator.written}
        args = tuple(tree_map_only(Tensor, Tensor.clone, arg) if k in written else arg for k, arg in enumerate(args))
        targets = written_by(operator, args, kwargs)
        result = call.function(*args, **kwargs)
        targets += [tensor for tensor in tensors_in(result) if not any(tensor is other for other in targets)]
        return _widened(targets[call.result or 0])  # torch.eye and its like come in torch's default dtype


def _made_from(value: Value) -> Iterator[Value]:
    """The values that one is computed from."""
    if isinstance(value, Call):
        yield from inputs_of(value)
    elif isinstance(value, Read):
        yield from (written for _, written in value.state.writes() if not isinstance(written, _UNSEEN))


def _times_needed(value: Value) -> Counter[int]:
    """How often each value that one is made from is needed for another."""
    needed: Counter[int] = Counter()
    waiting = [value]
    while waiting:
        for other in _made_from(waiting.pop()):
            if not needed[id(other)]:
                waiting.append(other)
            needed[id(other)] += 1
    return needed


def wide(dtype: torch.dtype) -> torch.dtype:
    """What stands for a dtype: fp64 for those of floating point."""
    return torch.float64 if dtype.is_floating_point else dtype


def settings(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that an operator is called with by name: on the CPU, and wide."""
    return {name: _setting(name, given) for name, given in sorted(kwargs.items()) if name not in _UNUSED}


def _setting(name: str, given: Any) -> Any:
    if name == "device":
        return torch.device("cpu")
    return wide(given) if isinstance(given, torch.dtype) else given


def _widened(tensor: Tensor) -> Tensor:
    return tensor.detach().to(device="cpu", dtype=wide(tensor.dtype))
