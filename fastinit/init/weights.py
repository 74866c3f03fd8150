"""What follows from the logical shape of a weight and its layout: the fans, and the matrices that it is made of."""

import warnings
from operator import index

from torch import Tensor

from fastinit.init.arguments import whole
from fastinit.shard.dtensor import is_dtensor
from fastinit.shard.fans import Fans, Matrices, convolution, fans, matrices
from fastinit.shard.geometry import LocalShard, Shape
from fastinit.shard.storage import check_tensor


def logical_shape(tensor: Tensor, shard: LocalShard | None) -> Shape:
    """The shape of the whole of which a tensor is a part: a DTensor's own, and a shard's global shape."""
    if shard is None or is_dtensor(tensor):
        return tuple(map(index, tensor.shape))  # index() turns a symbolic size of torch.compile into an int
    if not isinstance(shard, LocalShard):
        raise TypeError(f"shard: expected a fastinit.LocalShard, got {shard!r}")
    return shard.global_shape


def fans_of(tensor: Tensor, shard: LocalShard | None, layout: str | None, num_experts: int | None) -> Fans | None:
    """The fans of a weight; None, with torch's warning, for one without elements.

    Warns, as the caller's caller, of three dimensions without a layout.
    """
    shape = _checked(tensor, shard, layout, num_experts)
    if 0 in shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return None
    found = fans(layout or convolution(shape), shape, num_experts)
    if layout is None and len(shape) == 3:
        warnings.warn(
            f"layout: none was given for shape {shape}, so fan_in={found.fan_in} and fan_out={found.fan_out} were taken, "
            f"those of a convolution's weight ('o i k'); a bank of experts is 'e o i' or 'e i o'",
            stacklevel=3,
        )
    return found


def matrices_of(tensor: Tensor, shard: LocalShard | None, layout: str | None, num_experts: int | None) -> Matrices:
    """The matrices of a weight. Warns, as the caller's caller, of three dimensions without a layout."""
    shape = _checked(tensor, shard, layout, num_experts)
    if layout is None and len(shape) == 3:
        warnings.warn(
            f"layout: none was given for shape {shape}, so it was taken for one matrix of {shape[0]} rows and "
            f"{shape[1] * shape[2]} columns, a convolution's weight ('o i k'); a bank of experts is 'e o i' or 'e i o'",
            stacklevel=3,
        )
    return matrices(layout or convolution(shape), shape, num_experts)


def _checked(tensor: Tensor, shard: LocalShard | None, layout: str | None, num_experts: int | None) -> Shape:
    """The logical shape of a weight, of at least two dimensions."""
    check_tensor(tensor)
    shape = logical_shape(tensor, shard)
    if layout is not None and not isinstance(layout, str):
        raise TypeError(f"layout: expected a text such as 'e o i', got {layout!r}")
    if num_experts is not None:
        whole("num_experts", num_experts)
    if layout is None and len(shape) < 2:
        raise ValueError(f"tensor: expected at least 2 dimensions, of which a fan can be taken, got shape {shape}")
    return shape
