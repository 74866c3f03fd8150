"""What of a tensor can be filled: its dtype, its memory, where that lies, and how torch writes to it."""

import sys
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch._C import _functorch
from torch.nn.parameter import Parameter, UninitializedBuffer, UninitializedParameter

from fastinit.shard import dtensor
from fastinit.shard.memory import Strided, strided_of

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
STORED = (
    *DTYPES,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)  # buffers of a model count
PLAIN = (Tensor, Parameter)
_LAZY = (UninitializedParameter, UninitializedBuffer)


class Memory(NamedTuple):
    """A tensor's own: an address in a space of its own: a device's memory, or the storage of a meta or fake tensor."""

    space: Hashable
    address: int
    strided: Strided


def dtype_name(dtype: torch.dtype) -> str:
    """torch's name for a dtype.

    >>> dtype_name(torch.bfloat16)
    'bfloat16'
    """
    return str(dtype).removeprefix("torch.")


def check_dense(tensor: Tensor) -> None:
    """Raise ``TypeError`` unless it is a dense tensor, of any dtype that is not quantised."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"tensor: expected a torch.Tensor, got {type(tensor).__name__}")
    if isinstance(tensor, _LAZY):
        raise TypeError("tensor: expected one with a shape, got a lazy one: run the module once, or materialize() it")
    if tensor.is_nested:
        raise TypeError("tensor: expected a dense (strided) tensor, got a nested one: fill each tensor of its unbind()")
    if tensor.layout != torch.strided:
        raise TypeError(f"tensor: expected a dense (strided) tensor, got layout {tensor.layout}")
    if tensor.is_quantized:
        raise TypeError(f"tensor: expected one that holds its values, got a quantised one of dtype {tensor.dtype}")


def check_tensor(tensor: Tensor) -> None:
    """Raise unless it is a dense tensor, with memory that holds its values, of a dtype that can be filled."""
    check_dense(tensor)
    if tensor.dtype not in DTYPES:
        raise TypeError(f"tensor: expected dtype float32, bfloat16, float16 or float64, got {tensor.dtype}")
    if not torch.compiler.is_compiling() and tensor.is_neg():
        raise ValueError(
            "tensor: expected one whose memory holds its values, got a view that torch negates when it is read "
            "(is_neg()): fill another tensor, and copy_ that one"
        )


def memory_of(tensor: Tensor) -> Memory | None:
    """Where this rank's elements lie; None where that cannot be told, or there are none.

    Tensors that are lazy or not dense have no one storage, and those of a subclass that leaves everything to its
    operators have none.
    """
    local = dtensor.local_of(tensor) if dtensor.is_dtensor(tensor) else tensor
    if isinstance(local, _LAZY) or (leaves_it_to_operators(type(local)) and not is_fake(local)):
        return None
    if local.layout != torch.strided or local.is_nested or local.numel() == 0:
        return None
    return located(local, strided_of(local.shape, local.stride(), local.element_size()))


def located(local: Tensor, strided: Strided) -> Memory | None:
    """The memory of a dense plain tensor, meta or fake ones included, whose elements lie as told."""
    if local.is_meta or (type(local) not in PLAIN and is_fake(local)):
        space = local.device, local.untyped_storage()._cdata
        return Memory(space, strided.itemsize * int(local.storage_offset()), strided)
    address = local.data_ptr()
    return Memory(local.device, address, strided) if address else None


def check_memory(tensor: Tensor) -> None:
    """Raise ``ValueError`` for a dense tensor whose memory was freed or cut under it: torch itself would write there."""
    if (type(tensor) not in PLAIN and leaves_it_to_operators(type(tensor))) or tensor.is_meta or is_wrapped(tensor):
        return
    if not tensor.data_ptr():
        if not tensor.numel():
            return
        raise ValueError(
            f"tensor: expected memory for {tensor.numel()} elements, got none: its storage was freed, as "
            "FullyShardedDataParallel does between uses, or it stands for zeros"
        )
    held, end = tensor.untyped_storage().nbytes(), int(tensor.nbytes)
    if not tensor.is_contiguous():
        last = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
        end = int(last + 1) * tensor.element_size()
    if offset := tensor.storage_offset():
        end += int(offset) * tensor.element_size()
    if end > held and tensor.numel():
        raise ValueError(f"tensor: expected a storage of at least {end} bytes, got one of {held}: it was resized")


def leaves_it_to_operators(kind: type[Tensor]) -> bool:
    """Whether tensors of the type, fake ones and their like, leave it to operators what is done to them."""
    return kind.__torch_dispatch__ is not Tensor.__torch_dispatch__


def is_wrapped(tensor: Tensor) -> bool:
    """Whether it is what a transform of torch.func hands out in place of a tensor: operators alone find what is within."""
    return bool(_functorch.is_functorch_wrapped_tensor(tensor))


def any_wrapped(tensors: Iterable[Tensor]) -> bool:
    """Whether any of many is, which costs nothing where there is no transform."""
    return _functorch.peek_interpreter_stack() is not None and any(map(is_wrapped, tensors))


def is_fake(tensor: Tensor) -> bool:
    """Whether a tensor is one of FakeTensorMode, which has no memory."""
    module = sys.modules.get("torch._subclasses.fake_tensor")
    return module is not None and bool(module.is_fake(tensor))


def is_traced() -> bool:
    """Whether make_fx writes down what is done to tensors."""
    module = sys.modules.get("torch.fx.experimental.proxy_tensor")
    return module is not None and module.get_proxy_mode() is not None


def write(tensor: Tensor, into: Callable[[Tensor], object]) -> None:
    """Have torch's own operators write to a tensor's memory: autograd records nothing, and sees the tensor change.

    A detached tensor shares memory and version. Autograd is not switched off, as an interrupt in the switch would leave it off for
    good. torch lets nobody write to a tensor that was made under ``torch.inference_mode``, but there.
    """
    if not torch.compiler.is_compiling() and tensor.is_inference():
        with torch.inference_mode():
            into(tensor)
    else:
        into(tensor.detach())
