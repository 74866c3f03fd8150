"""One module a backend, each with ``fill_(tensor, fill)`` and ``fill_many_(tensors, fills)``; they differ in speed alone.

Those that write by address have ``bound(shape, strides, dtype, shard, law)`` too, a fill that waits for the memory and the key.

reference.py is the contract in eager torch, with which the others are compared bit for bit. triton.py launches the kernels on a
GPU, with triton_launch.py for one tensor after another, triton_table.py for lists, and division.py's numbers. llvm.py fills on
a CPU: llvm_ir.py and llvm_ops.py are a small language for compiled functions, llvm_words.py, llvm_laws.py and llvm_loops.py are
written in it, llvm_compile.py compiles them; threads.py shares the work, forks.py keeps a fork from finding anything half done.

A backend imports fills, laws and places (fill.py, law, shard); op.py and foreach.py import this folder, and choose one by the
device alone. A new one is a module here, with its name in BACKENDS.
"""

import importlib
from functools import cache
from types import ModuleType

from fastinit.backends import forks
from fastinit.collector import paused

BACKENDS = ("triton", "llvm", "reference")


def get(name: str) -> ModuleType:
    """The backend called ``name``; nothing else is tried when it cannot be imported."""
    if name not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {name!r}")
    with forks.lock:
        # What a backend imports makes so many objects that the collector would go through all of torch's, for 80 ms.
        return paused(lambda: importlib.import_module(f"fastinit.backends.{name}"))


@cache
def backend_for(device_type: str) -> ModuleType:
    """The fastest backend for tensors on this type of device ("cpu", "cuda", ...). It depends on nothing else.

    Raises ``NotImplementedError`` for a device that none of them serves.
    """
    if device_type == "cuda":  # ROCm's devices too
        return get("triton")
    if device_type == "cpu":
        return get("llvm")
    raise NotImplementedError(f"tensor: expected one on a CPU or a CUDA or ROCm device, got one on {device_type!r}")
