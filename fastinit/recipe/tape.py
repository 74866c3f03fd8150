"""The tape: a mode in which every operator of torch is noted, and in which numbers are drawn by fastinit's laws."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from fastinit.law.distributions import Distribution
from fastinit.recipe.draws import arguments_of, draw_of, is_random
from fastinit.recipe.lifting import lifted
from fastinit.recipe.operators import Operator, operator_of, tensors_in, written_by
from fastinit.recipe.pieces import reached_from
from fastinit.recipe.storages import Storages
from fastinit.recipe.values import Call, Drawn, Foreign, Leaf, Literal, Lost, Same, Settled, Unwritten, Value, inputs_of
from fastinit.shard import dtensor

_aten = torch.ops.aten
_EMPTY = {
    _aten.empty,
    _aten.empty_like,
    _aten.empty_strided,
    _aten.empty_permuted,
    _aten.new_empty,
    _aten.new_empty_strided,
}
_OVERWRITES = {_aten.copy_.default, _aten.fill_.Tensor}
_FILLS = {_aten.fill_.Scalar, _aten.zero_.default}
_EACH = {_aten._foreach_zero_.default: _aten.zero_.default, _aten._foreach_copy_.default: _aten.copy_.default}
_JOINS = {_aten.cat.default, _aten.stack.default}

_ELSE = 'record with device="cpu", or use fastinit.keyed on a model that has memory'

Arguments = tuple[Any, ...]
Named = dict[str, Any]
Fill = Callable[[Tensor, Leaf], None]


class Tape(TorchDispatchMode):
    """Notes what is written to every tensor, on the thread that entered it, until it is left.

    ``fill`` is asked to give a tensor values when numbers are drawn into it: no generator of torch's moves for those. A tensor
    that ``knows`` does not know is left to the tape outside of this one, if there is one. ``has_values`` says whether what is
    drawn is what a parameter will have, so that numbers may be read off it.
    """

    def __init__(
        self, fill: Fill, knows: Callable[[Tensor], bool] = lambda tensor: True, has_values: bool = True
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages = Storages()
        self.random: dict[str, int] = {}  # operators that drew from torch's generators, and how often
        self.outer: Tape | None = None  # the one that was running when this one was entered
        self._fill = fill
        self._knows = knows
        self._has_values = has_values
        self._drawn = 0
        self._strangers: dict[Leaf, ref[nn.Parameter]] = {}  # what was drawn into parameters that were not known
        self._aside = 0

    def __torch_dispatch__(
        self, function: OpOverload, types: Any, args: Arguments = (), kwargs: Named | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._aside:
            return function(*args, **kwargs)
        operator = operator_of(function)
        if function in _EACH:  # of which nothing that was there before is read
            with self:
                for tensors in zip(*args[:2], strict=True):
                    _EACH[function](*tensors)
            return None
        if operator.composite:  # in inference mode torch shows those whole
            with self:
                return function.decompose(*args, **kwargs)
        if is_random(function):
            draw = draw_of(function)
            if draw is not None:
                named = arguments_of(function, args, kwargs)
                tensor = named["self"] if draw.empty is None else draw.empty(named)
                if tensor.is_floating_point():
                    self.draw(tensor, draw.law(named))
                    return tensor
            self.random[str(function)] = self.random.get(str(function), 0) + 1
        if function is _aten._local_scalar_dense.default:
            self._check_read(args[0])
        if operator.views or operator.reshapes:
            result = self._executed(function, operator, args, kwargs)
            self._view(function, args, kwargs, result)
            return result
        read = self._read(function, operator, args, kwargs)
        written = written_by(operator, args, kwargs)
        result = self._executed(function, operator, args, kwargs)
        made = [tensor for tensor in tensors_in(result) if not any(tensor is other for other in written)]
        if function in _JOINS and isinstance(read, Call) and args:
            self._join(function, args, kwargs, read.args[0], result)
            return result
        targets = [*written, *made]
        for position, tensor in enumerate(targets):
            value = replace(read, result=position) if isinstance(read, Call) and len(targets) > 1 else read
            # Whole numbers are cut off, and wrap round: no law says that. What is copied was lifted where it was made.
            if tensor.is_floating_point() and function not in _OVERWRITES:
                value = lifted(value, tuple(tensor.shape))
            self.storages.write(tensor, value)
        return result

    def draw(self, tensor: Tensor, law: Distribution) -> None:
        """Note that a tensor is filled with numbers of a law, and fill it."""
        leaf = Leaf(law, tuple(tensor.shape), self._drawn)
        self._drawn += 1
        self.storages.write(tensor, Drawn(leaf, law))
        known = self._knows(tensor)
        if not known and isinstance(tensor, nn.Parameter):
            self._strangers[leaf] = ref(tensor)
        if self.outer is not None and not known:
            self.outer.draw(tensor, law)
            return
        self._aside += 1  # what is done is the tape's own
        try:
            self._fill(tensor, leaf)
        finally:
            self._aside -= 1

    def held_elsewhere(self, parameters: Iterable[Tensor]) -> set[Leaf]:
        """What was drawn into parameters that are none of these, and that hold it still."""
        own = {id(self.storages.state_of(parameter)[0]) for parameter in parameters}
        held = set()
        for leaf, reference in self._strangers.items():
            stranger = reference()
            state = None if stranger is None else self.storages.state_of(stranger)[0]
            value = None if state is None or id(state) in own else state.value
            if isinstance(value, Drawn) and value.leaf is leaf:
                held.add(leaf)
        return held

    def _check_read(self, tensor: Tensor) -> None:
        """Raise ``RuntimeError`` where a number is read that is not there."""
        if tensor.is_meta:
            raise RuntimeError(f"init: expected no number to be read off a tensor on the meta device; {_ELSE}")
        if not self._has_values and any(isinstance(value, Drawn) for value in reached_from(self.storages.read(tensor))):
            raise RuntimeError(
                "init: expected no number to be read off drawn values, which depend on the seed; use fastinit.keyed, where they "
                "are there"
            )

    def _read(self, function: OpOverload, operator: Operator, args: Arguments, kwargs: Named) -> Value:
        """What an operator makes, noted before it does, as what it reads may be written over."""
        if operator.opaque or is_random(function):
            return Lost(f"it went through {function}")
        if function.overloadpacket in _EMPTY:
            return Unwritten()
        if function.namespace == "fastinit":
            return Settled()
        if function in _OVERWRITES:  # not a part of what they make: what was there before
            value = self.storages.read(args[1])
            if isinstance(value, Same):
                value = replace(value, shape=tuple(args[0].shape))
            same = args[0].shape == args[1].shape or isinstance(value, Same)
            if not args[0].is_floating_point() and not isinstance(value, Lost):  # what is cut off there is lost
                value = Call(_aten._to_copy.default, (value,), {"dtype": args[0].dtype}, None)
            return (
                value
                if same or isinstance(value, Lost)
                else Call(_aten.expand.default, (value, list(args[0].shape)), {}, None)
            )
        if function in _FILLS and not args[0].is_floating_point():
            number = args[1] if len(args) > 1 else 0
            return Call(_aten.full.default, (list(args[0].shape), number), {"dtype": args[0].dtype}, None)
        outs = {
            name: Same(0.0, tuple(kwargs[name].shape))
            for _, name in operator.written
            if isinstance(kwargs.get(name), Tensor)
        }
        read = tree_map_only(Tensor, self.storages.read, (args, {**kwargs, **outs}))
        call = Call(function, read[0], read[1], None)
        return next((value for value in inputs_of(call) if isinstance(value, Lost)), call)

    def _join(self, function: OpOverload, args: Arguments, kwargs: Named, values: list[Value], result: Tensor) -> None:
        """Tensors that are put together are written one beside another, so that each keeps its law."""
        dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
        whole, start = self.storages.stand_in(result), 0
        self.storages.write(whole, Unwritten())
        for k, (tensor, value) in enumerate(zip(args[0], values, strict=True)):
            if function is _aten.stack.default:
                self.storages.write(whole.select(dim, k), value)
            elif tensor.numel():
                self.storages.write(whole.narrow(dim, start, tensor.shape[dim]), value)
                start += tensor.shape[dim]

    def _executed(self, function: OpOverload, operator: Operator, args: Arguments, kwargs: Named) -> Any:
        """Run an operator. Where torch has no rule for DTensors, what stands for them is used: it has no values, only a shape."""
        if function is _aten.copy_.default and dtensor.is_dtensor(args[0]) and not dtensor.is_dtensor(args[1]):
            return args[0]  # torch refuses it; in the end each rank gets its part of what was noted
        try:
            return _run(function, operator, args, kwargs)
        except RuntimeError:
            if not any(map(dtensor.is_dtensor, tensors_in((args, kwargs)))):
                raise
        written = written_by(operator, args, kwargs)
        result = _run(function, operator, *tree_map_only(Tensor, self.storages.stand_in, (args, kwargs)))
        return written[0] if written else result

    def _view(self, function: OpOverload, args: Arguments, kwargs: Named, result: Any) -> None:
        """Note of views of DTensors what they are views of, and of numbers that were given in Python what they are."""
        made = tensors_in(result)
        if function is _aten.lift_fresh.default:
            (tensor,) = made
            if not tensor.is_meta:
                self.storages.write(tensor, _given(tensor.detach()))
        elif any(map(dtensor.is_dtensor, made)):
            stand_ins = function(*tree_map_only(Tensor, self.storages.stand_in, args), **kwargs)
            for tensor, stand_in in zip(made, tensors_in(stand_ins), strict=True):
                if tensor is not stand_in:
                    self.storages.let_stand(tensor, stand_in)


def _given(tensor: Tensor) -> Value:
    """Numbers that were given in Python; one alone is a number, so that what is computed of it may follow a law.

    NumPy's arrays are from elsewhere, told by their memory, which torch cannot resize. They are copied, as NumPy may write there.
    """
    if tensor.ndim == 0 and tensor.is_floating_point():
        return Same(tensor.item())
    return Literal(tensor.clone()) if tensor.untyped_storage().resizable() else Foreign(tensor.clone())


def _run(function: OpOverload, operator: Operator, args: Arguments, kwargs: Named) -> Any:
    """Run an operator on tensors of which some are on the meta device."""
    tensors = tensors_in((args, kwargs))
    if any(tensor.is_meta for tensor in tensors) and not all(tensor.is_meta for tensor in tensors):
        written = written_by(operator, args, kwargs)
        if written and not all(tensor.is_meta for tensor in written):
            return written[0] if function._schema.returns else None  # there are no values to write
        args, kwargs = tree_map_only(Tensor, _without_values, (args, kwargs))
    if function is _aten._to_copy.default and args[0].is_meta:
        kwargs = {**kwargs, "device": None}
    try:
        return function(*args, **kwargs)
    except NotImplementedError as error:  # which frameworks catch, and go another way
        if not any(tensor.is_meta for tensor in tensors):
            raise
        raise RuntimeError(f"init: expected operators that the meta device has, got {function}; {_ELSE}") from error


def _without_values(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else torch.empty_like(tensor, device="meta")
