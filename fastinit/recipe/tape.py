"""The tape: a mode in which every operator of torch is noted, and in which numbers are drawn by fastinit's laws."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode, _pop_mode, _push_mode

from fastinit.law.distributions import Distribution
from fastinit.recipe.draws import drawn_by
from fastinit.recipe.lifting import lifted
from fastinit.recipe.operators import Arguments, Kind, Named, operator_of, tensors_in, written_by
from fastinit.recipe.pieces import reached_from
from fastinit.recipe.reading import join, value_of, view
from fastinit.recipe.running import ELSE, executed
from fastinit.recipe.storages import Storages, memory_of, view_of
from fastinit.recipe.values import Call, Drawn, Leaf

_aten = torch.ops.aten
_EACH = {_aten._foreach_zero_.default: _aten.zero_.default, _aten._foreach_copy_.default: _aten.copy_.default}

Find = Callable[[Tensor], Any]
Fill = Callable[[Tensor, Leaf, Any], None]


class Tape(TorchDispatchMode):
    """Notes what is written to every tensor, on the thread that entered it, until it is left.

    ``fill`` is asked to give a tensor values when numbers are drawn into it, with what ``find`` has found of it: no generator of
    torch's moves for those. What is None to ``find`` is left to the tape outside of this one, if there is one. ``has_values``
    says whether what is drawn is what a parameter will have, so that numbers may be read off it.
    """

    def __init__(self, fill: Fill, find: Find = lambda tensor: True, has_values: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages = Storages()
        self.random: dict[str, int] = {}  # operators that drew from torch's generators, and how often
        self.outer: Tape | None = None  # the one that was running when this one was entered
        self._fill = fill
        self._find = find
        self._has_values = has_values
        self._drawn = 0
        self._strangers: dict[
            Leaf, StorageWeakRef
        ] = {}  # what was drawn into parameters that were not known, and where
        self._aside = 0

    def __torch_dispatch__(
        self, function: OpOverload, types: Any, args: Arguments = (), kwargs: Named | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._aside:
            return function(*args, **kwargs)
        operator = operator_of(function)
        if operator.kind is Kind.EACH:
            with self:
                for tensors in zip(*args[:2], strict=True):
                    _EACH[function](*tensors)
            return None
        if operator.composite:  # in inference mode torch shows those whole
            with self:
                return function.decompose(*args, **kwargs)
        if operator.random:
            drawn = drawn_by(function, args, kwargs)
            if drawn is not None:
                self.draw(*drawn)
                return drawn[0]
            self.random[str(function)] = self.random.get(str(function), 0) + 1
        if operator.kind is Kind.READ:
            self._check_read(args[0])
        if operator.views or operator.reshapes:
            result = executed(function, operator, args, kwargs, self.storages)
            view(function, args, kwargs, result, self.storages)
            return result
        read = value_of(function, operator, args, kwargs, self.storages)
        written = written_by(operator, args, kwargs) if operator.written else []
        result = executed(function, operator, args, kwargs, self.storages)
        if operator.kind in (Kind.EMPTY, Kind.FILL):  # one tensor, and nothing to lift
            self.storages.write(result, read)
            return result
        made = tensors_in(result)
        if written:
            made = [tensor for tensor in made if not any(tensor is other for other in written)]
        if operator.kind is Kind.JOIN and isinstance(read, Call) and args:
            join(function, args, kwargs, read.args[0], result, self.storages)
            return result
        targets = [*written, *made]
        for position, tensor in enumerate(targets):
            value = replace(read, result=position) if isinstance(read, Call) and len(targets) > 1 else read
            # Whole numbers are cut off, and wrap round: no law says that. What is copied was lifted where it was made.
            if tensor.is_floating_point() and operator.kind is not Kind.OVERWRITE:
                value = lifted(value, tuple(tensor.shape))
            self.storages.write(tensor, value)
        return result

    def draw(self, tensor: Tensor, law: Distribution) -> None:
        """Note that a tensor is filled with numbers of a law, and fill it."""
        leaf = Leaf(law, view_of(self.storages.stand_in(tensor)).shape, self._drawn)
        self._drawn += 1
        self.storages.write(tensor, Drawn(leaf, law))
        found = self._find(tensor)
        if found is None and isinstance(tensor, nn.Parameter):
            self._strangers[leaf] = memory_of(tensor)
        if self.outer is not None and found is None:
            self.outer.draw(tensor, law)
        elif not self.storages.is_copy(tensor):
            self._fill_unseen(tensor, leaf, found)

    def _fill_unseen(self, tensor: Tensor, leaf: Leaf, found: Any) -> None:
        """Fill with no mode on, which is many times as fast: torch has taken it off for an operator, but not for a hook."""
        mode = _pop_mode() if _get_current_dispatch_mode() is self else None
        self._aside += 1  # where another mode is above this one
        try:
            self._fill(tensor, leaf, found)
        finally:
            self._aside -= 1
            if mode is not None:
                _push_mode(mode)

    def held_elsewhere(self, parameters: Iterable[Tensor]) -> set[Leaf]:
        """What was drawn into parameters that are none of these, and that hold it still."""
        if not self._strangers:
            return set()
        own = {id(self.storages.state_of(parameter)[0]) for parameter in parameters}
        held = set()
        for leaf, memory in self._strangers.items():
            state = self.storages.state_in(memory)
            value = None if state is None or id(state) in own else state.value
            if isinstance(value, Drawn) and value.leaf is leaf:
                held.add(leaf)
        return held

    def _check_read(self, tensor: Tensor) -> None:
        """Raise ``RuntimeError`` where a number is read that is not there."""
        if tensor.is_meta:
            raise RuntimeError(f"init: expected no number to be read off a tensor on the meta device; {ELSE}")
        if not self._has_values and any(isinstance(value, Drawn) for value in reached_from(self.storages.read(tensor))):
            raise RuntimeError(
                "init: expected no number to be read off drawn values, which depend on the seed; use fastinit.keyed, where they "
                "are there"
            )
