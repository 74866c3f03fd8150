"""Plans: what the checks said of tensors that are alike, with a backend's fill for them. The next one is filled in microseconds.

A plan holds all that a fill depends on but the memory and the key. By it nothing but autograd learns of a fill, so it is for
plain tensors alone, and while nobody watches operators. All other fills are the operator's (op.py).
"""

from collections.abc import Callable, Hashable
from functools import reduce
from operator import or_
from types import ModuleType
from typing import NamedTuple

from torch import Tensor
from torch._C import (
    DispatchKey,
    DispatchKeySet,
    _dispatch_keys,
    _dispatch_tls_local_include_set,
    _len_torch_function_stack,
)
from torch._C._autograd import _profiler_enabled
from torch.autograd.graph import increment_version
from torch.compiler import is_compiling
from torch.nn.parameter import Parameter

from fastinit.law.distributions import Distribution
from fastinit.shard.described import describe
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key

MOST = 4096  # plans that are kept


class Plan(NamedTuple):
    """How to fill tensors that are alike, and the bytes from the first element to the end of the last."""

    fill: Callable[[Tensor, Key], None]
    span: int

    def fits(self, tensor: Tensor) -> bool:
        """Whether the tensor's storage still has the memory: it may have been freed, or have become smaller."""
        return tensor.storage_offset() * tensor.itemsize + self.span <= tensor.untyped_storage().nbytes()

    def __call__(self, tensor: Tensor, key: Key) -> None:
        """Fill a tensor, which autograd sees change, and of which it records nothing."""
        increment_version(tensor)  # first, as a fill that is interrupted has written too
        self.fill(tensor, key)


_plans: dict[Hashable, Plan] = {}


def plan_of(
    tensor: Tensor, law: Distribution, shard: LocalShard | None, backend_for: Callable[[str], ModuleType]
) -> Plan | None:
    """The plan for a tensor that has passed all checks, or None where the operator must fill it.

    Raises what a fill raises, as the first tensor of its like is checked here. What may differ from it is looked at each time.
    """
    if is_compiling() or type(tensor) not in _TYPES or is_watched() or _dispatch_keys(tensor).raw_repr() not in _PLAIN:
        return None
    if shard is not None and type(shard) is not LocalShard:
        return None
    alike = what_counts(tensor, law, shard, backend_for)
    plan = _plans.get(alike)
    if plan is None:
        plan = _made(tensor, law, shard, backend_for)
        if plan is None:
            return None
        if len(_plans) >= MOST:
            _plans.clear()
        _plans[alike] = plan
    return plan if plan.fits(tensor) else None


def what_counts(tensor: Tensor, *others: Hashable) -> Hashable:
    """All that a plan depends on. Nothing of it changes, and what is equal means the same."""
    return tensor.dtype, tensor.shape, tensor.stride(), tensor.device, *others


def _made(
    tensor: Tensor, law: Distribution, shard: LocalShard | None, backend_for: Callable[[str], ModuleType]
) -> Plan | None:
    ((_, box),) = describe(tensor, shard).boxes
    if tensor.numel() == 0:
        return None
    # A backend without it writes by torch's operators, which autograd is to be kept from.
    bound = getattr(backend_for(tensor.device.type), "bound", None)
    if bound is None:
        return None
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    fill = bound(tuple(tensor.shape), tensor.stride(), tensor.dtype, box, law)
    return Plan(fill, (last + 1) * tensor.itemsize)


def is_watched() -> bool:
    """Whether operators are seen by anybody: a mode, a transform of torch.func, torch.jit.trace, a profiler."""
    return (
        _dispatch_tls_local_include_set().raw_repr() not in _UNWATCHED
        or _len_torch_function_stack() > 0
        or _profiler_enabled()
    )


def _keys(*names: str) -> int:
    """A set of the dispatcher's keys, as a number."""
    return reduce(or_, (DispatchKeySet(getattr(DispatchKey, name)) for name in names)).raw_repr()


_TYPES = (Tensor, Parameter)
# What the dispatcher adds to each tensor's own keys when there is nothing to add, and under torch.inference_mode.
_UNWATCHED = {_keys("BackendSelect", "ADInplaceOrView"), _keys("BackendSelect")}
# The keys of dense tensors whose memory holds their values, and of those made under torch.inference_mode.
_PLAIN = {
    keys
    for device in ("CPU", "CUDA")
    for keys in (
        _keys(device, "ADInplaceOrView", f"Autograd{device}", f"Autocast{device}"),
        _keys(device, f"Autocast{device}"),
    )
}
