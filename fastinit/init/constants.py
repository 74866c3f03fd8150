"""constant_, ones_, zeros_, eye_, dirac_: what is not random, for tensors of any dtype that torch can fill.

Each takes a key, as all calls of fastinit.init do, and none depends on it.
"""

from operator import index

import torch
from torch import Tensor

from fastinit.init.arguments import whole
from fastinit.init.fills import check_source
from fastinit.init.memory import has_memory, write_boxes
from fastinit.init.weights import logical_shape
from fastinit.shard.described import describe
from fastinit.shard.geometry import LocalShard
from fastinit.shard.storage import check_dense
from fastinit.stream import Key


def constant_(tensor: Tensor, val: float, *, key: Key | None = None, shard: LocalShard | None = None) -> Tensor:
    """Fill the tensor, in place, with one value.

    >>> constant_(torch.empty(3), 0.3)
    tensor([0.3000, 0.3000, 0.3000])

    Args:
        tensor: dense, of any dtype, shape, strides and device; a plain tensor, a ``Parameter`` or a ``DTensor``. A meta tensor
            is returned untouched.
        val: a number that the dtype can hold; rounded to the nearest value of it.
        key, shard: as in :func:`fastinit.trunc_normal_`, so that a table of initialisers is called in one way. They are checked,
            and change nothing.

    Returns the same tensor. Raises ``TypeError`` for what is no dense tensor and a value that is no number, and ``ValueError`` for
    one that the dtype cannot hold, for overlapping memory, for a shard that does not fit, and for a slice of a DTensor that is a
    copy, to which ``torch.nn.init`` writes for nobody to see.
    """
    check_source(key, None)
    described = describe(tensor, shard, check_dense)
    if not torch.compiler.is_compiling():
        _check_value(val, tensor.dtype)
    if has_memory(tensor):
        write_boxes(tensor, described, lambda box, memory: memory.fill_(val))
    return tensor


def ones_(tensor: Tensor, *, key: Key | None = None, shard: LocalShard | None = None) -> Tensor:
    """Fill the tensor, in place, with ones.

    >>> ones_(torch.empty(3))
    tensor([1., 1., 1.])

    The arguments, the result and the errors are those of :func:`constant_`.
    """
    return constant_(tensor, 1, key=key, shard=shard)


def zeros_(tensor: Tensor, *, key: Key | None = None, shard: LocalShard | None = None) -> Tensor:
    """Fill the tensor, in place, with zeros.

    >>> zeros_(torch.empty(3))
    tensor([0., 0., 0.])

    The arguments, the result and the errors are those of :func:`constant_`.
    """
    return constant_(tensor, 0, key=key, shard=shard)


def eye_(tensor: Tensor, *, key: Key | None = None, shard: LocalShard | None = None) -> Tensor:
    """Fill a matrix, in place, with ones on the diagonal and zeros elsewhere.

    >>> eye_(torch.empty(2, 3), shard=LocalShard(global_shape=(4, 3), global_offset=(1, 0)))
    tensor([[0., 1., 0.],
            [0., 0., 1.]])

    ``shard`` says where a plain tensor lies in a larger logical matrix, of which it is the diagonal. The other arguments, the
    result and the errors are those of :func:`constant_`, and ``ValueError`` for other than two dimensions.
    """
    check_source(key, None)
    described = describe(tensor, shard, check_dense)
    if tensor.ndim != 2:
        raise ValueError(f"tensor: expected 2 dimensions, got shape {tuple(tensor.shape)}")
    if has_memory(tensor):
        write_boxes(tensor, described, _eye)
    return tensor


def _eye(box: LocalShard, memory: Tensor) -> None:
    first_row, first_column = box.global_offset
    memory.zero_().diagonal(first_row - first_column).fill_(1)


def dirac_(tensor: Tensor, groups: int = 1, *, key: Key | None = None, shard: LocalShard | None = None) -> Tensor:
    """Fill a convolution's weight (out, in / groups, kernel...), in place, so that it passes its inputs on.

    >>> dirac_(torch.empty(2, 2, 3))
    tensor([[[0., 1., 0.],
             [0., 0., 0.]],
    <BLANKLINE>
            [[0., 0., 0.],
             [0., 1., 0.]]])

    Of each group the first outputs are its inputs, as many as there are of both: a one in the middle of their kernel, at
    ``size // 2``. The rest is zero.

    Args:
        tensor: of 3, 4 or 5 dimensions; else as in :func:`constant_`.
        groups: of the convolution; a divisor of the number of outputs.
        key: checked, and changes nothing.
        shard: where a plain tensor lies in a larger logical weight.

    The result and the errors are those of :func:`constant_`, and ``ValueError`` for other dimensions and groups that do not divide
    the outputs.
    """
    check_source(key, None)
    described = describe(tensor, shard, check_dense)
    shape = logical_shape(tensor, shard)
    if len(shape) not in (3, 4, 5):
        raise ValueError(f"tensor: expected 3, 4 or 5 dimensions, got shape {shape}")
    if shape[0] % whole("groups", groups):
        raise ValueError(f"groups: expected a divisor of the {shape[0]} outputs, got {groups}")
    if has_memory(tensor):
        write_boxes(tensor, described, lambda box, memory: _dirac(box, memory, shape[0] // index(groups)))
    return tensor


def _dirac(box: LocalShard, memory: Tensor, outputs: int) -> None:
    """``outputs`` is the number of those of one group."""
    memory.zero_()
    at = memory
    for size, first in zip(box.global_shape[2:], box.global_offset[2:], strict=True):
        place = size // 2 - first
        if not 0 <= place < at.shape[2]:
            return
        at = at.select(2, place)
    (rows, columns), (first_row, first_column) = at.shape, box.global_offset[:2]
    row = (torch.arange(rows, device=memory.device) + first_row) % max(outputs, 1)
    column = torch.arange(columns, device=memory.device) + first_column
    at.copy_(row[:, None] == column)


def _check_value(val: float, dtype: torch.dtype) -> None:
    """Raise unless torch can fill a tensor of the dtype with the value."""
    try:
        torch.empty(2, dtype=dtype, device="cpu").fill_(val)  # of one element torch does not check the range
    except (TypeError, ValueError) as error:
        raise TypeError(f"val: expected a number, got {val!r}") from error
    except RuntimeError as error:
        raise ValueError(f"val: expected a number that dtype {dtype} can hold, got {val!r}") from error
