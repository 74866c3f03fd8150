"""One fill of one plain tensor: by its plan, or as ``torch.ops.fastinit.fill_``, an operator, so that torch.compile traces it,
modes and profilers see it, and fake tensors stay as they are. The import of this module registers it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fastinit.backends import backend_for
from fastinit.direct import Plan, plan_of
from fastinit.fill import Fill
from fastinit.law.distributions import DISTRIBUTIONS, Distribution
from fastinit.shard.described import describe
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key

_LAWS = {law.__name__: law for law in DISTRIBUTIONS}


# Defined through Library: torch.library.custom_op's wrapper takes 24 us a call, this one 4.
_LIBRARY = torch.library.Library("fastinit", "DEF")
_LIBRARY.define(
    "fill_(Tensor(a!) tensor, str law, float[] parameters, int seed, int stream, int[] global_shape, "
    "int[] global_offset) -> ()"
)


def _fill(
    tensor: Tensor,
    law: str,
    parameters: Sequence[float],
    seed: int,
    stream: int,
    global_shape: Sequence[int],
    global_offset: Sequence[int],
) -> None:
    if law not in _LAWS:
        raise ValueError(f"law: expected one of {', '.join(_LAWS)}, got {law!r}")
    fill = Fill(_LAWS[law](*parameters), *from_words(seed, stream, global_shape, global_offset))
    # A compiled graph calls it with whatever tensor it is given, and the backends write by address.
    describe(tensor, fill.shard)
    if tensor.numel() == 0:
        return
    fill_ = backend_for(tensor.device.type).fill_
    torch.autograd.graph.increment_version(tensor)  # first, as a fill that is interrupted has written too
    fill_(tensor, fill)


_LIBRARY.impl("fill_", _fill, "CompositeExplicitAutograd")


@torch.library.register_fake("fastinit::fill_", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _fill_fake(tensor: Tensor, *_: object) -> None:
    """A fake tensor has no memory to fill."""


def _signed(word: int) -> int:
    """A 64-bit word as an operator's int, which is signed."""
    return word - 2**64 if word >= 2**63 else word


def to_words(key: Key, shard: LocalShard) -> tuple[int, int, Sequence[int], Sequence[int]]:
    """A key and a box as an operator takes them: seed, stream, global shape and offset."""
    shape, offset = tuple(map(_signed, shard.global_shape)), tuple(map(_signed, shard.global_offset))
    return _signed(key.seed), _signed(key.stream), shape, offset


def from_words(
    seed: int, stream: int, global_shape: Sequence[int], global_offset: Sequence[int]
) -> tuple[Key, LocalShard]:
    """The key and the box that an operator was given."""
    shard = LocalShard(tuple(n % 2**64 for n in global_shape), tuple(n % 2**64 for n in global_offset))
    return Key(seed % 2**64, stream % 2**64), shard


def plan(tensor: Tensor, law: Distribution, shard: LocalShard | None) -> Plan | None:
    """The plan of a fill by the backend of the tensor's device; None where only the operator will do."""
    return plan_of(tensor, law, shard, backend_for)


def fill(tensor: Tensor, law: Distribution, key: Key, shard: LocalShard) -> None:
    """Fill one plain tensor, by the backend of its device.

    Autograd records nothing, and sees the tensor change, as a detached tensor shares its version. It is not switched off: an
    interrupt in the switch would leave it off for good.
    """
    planned = plan(tensor, law, shard)
    if planned is not None:
        planned(tensor, key)
        return
    torch.ops.fastinit.fill_.default(
        tensor.detach(),
        type(law).__name__,
        law.parameters(),
        *to_words(key, shard),
    )


def check_device(device: torch.device) -> None:
    """Raise ``NotImplementedError`` for a device that no backend serves."""
    backend_for(device.type)
