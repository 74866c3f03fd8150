"""``torch.ops.fastinit.fill_``: one fill of one plain tensor as an operator, so that torch.compile traces it,
autograd sees the tensor change, and fake tensors stay as they are."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fastinit.backends import backend_for
from fastinit.distributions import Distribution, Normal, TruncatedNormal, Uniform
from fastinit.fill import Fill
from fastinit.geometry import LocalShard
from fastinit.stream import Key

_LAWS = {law.__name__: law for law in (TruncatedNormal, Normal, Uniform)}


@torch.library.custom_op("fastinit::fill_", mutates_args=("tensor",))
def _fill(
    tensor: Tensor,
    law: str,
    parameters: Sequence[float],
    seed: int,
    stream: int,
    global_shape: Sequence[int],
    global_offset: Sequence[int],
) -> None:
    if tensor.numel() == 0:
        return
    fill = Fill(
        _LAWS[law](*parameters),
        Key(seed % 2**64, stream % 2**64),
        LocalShard(tuple(global_shape), tuple(global_offset)),
    )
    backend_for(tensor.device.type).fill_(tensor, fill)


@_fill.register_fake
def _(
    tensor: Tensor,
    law: str,
    parameters: Sequence[float],
    seed: int,
    stream: int,
    global_shape: Sequence[int],
    global_offset: Sequence[int],
) -> None:
    return None


def _signed(word: int) -> int:
    """A 64-bit word as an operator's int, which is signed."""
    return word - 2**64 if word >= 2**63 else word


def fill(tensor: Tensor, law: Distribution, key: Key, shard: LocalShard) -> None:
    """Fill one plain tensor, by the backend of its device."""
    torch.ops.fastinit.fill_(
        tensor,
        type(law).__name__,
        law.parameters(),
        _signed(key.seed),
        _signed(key.stream),
        shard.global_shape,
        shard.global_offset,
    )
