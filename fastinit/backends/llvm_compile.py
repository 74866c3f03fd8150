"""Compiled functions of the llvm backend: made for this processor when first asked for, kept in memory, never on disk."""

import ctypes
import platform
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from llvmlite import binding

from fastinit.backends import forks
from fastinit.backends.llvm_ir import Function
from fastinit.backends.llvm_loops import Kind, fill_function

_ARM = platform.machine().lower() in ("aarch64", "arm64")
_VECTORS = 4  # that are computed at once, as an instruction takes several cycles


class Target(NamedTuple):
    """A processor as LLVM names it, with features such as "+avx2,+fma"."""

    cpu: str
    features: str = ""

    def has(self, feature: str) -> bool:
        """Whether the features name it."""
        return f"+{feature}" in self.features.split(",")

    @property
    def vector_bits(self) -> int:
        """Of the widest registers that integers and floats share."""
        return 512 if self.has("avx512f") else 256 if self.has("avx2") else 128

    @property
    def groups(self) -> int:
        """Of four words each, that are made at once, in 64-bit lanes."""
        return _VECTORS * self.vector_bits // 64

    @property
    def fused(self) -> bool:
        """Whether there is an instruction for fma: on every 64-bit ARM, and on x86 from 2013 on."""
        return _ARM or self.has("fma")


class Compiled(NamedTuple):
    """A function ``fill(table, law, begin row, begin tile, end row, end tile)``, and the rows and columns of its tiles."""

    fill: Callable[[int | bytes, bytes, int, int, int, int], None]
    tile: tuple[int, int]


@cache
def host() -> Target:
    """This machine's processor."""
    with forks.lock:
        try:
            features = binding.get_host_cpu_features().flatten()
        except RuntimeError:  # a system that LLVM cannot ask: the name has to do
            features = ""
        return Target(binding.get_host_cpu_name(), features)


_compiled: dict[tuple[Kind, Target], Compiled] = {}


def compiled(kind: Kind, target: Target) -> Compiled:
    """The function of a kind."""
    found = _compiled.get((kind, target))
    if found is None:
        with forks.lock:
            found = _compiled.get((kind, target))
            if found is None:
                found = _compiled[kind, target] = _compile(kind, target)
    return found


def _compile(kind: Kind, target: Target) -> Compiled:
    address = address_of(fill_function(kind, target.groups, target.fused), target)
    number = ctypes.c_int64
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, number, number, number, number)
    return Compiled(prototype(address), kind.tile(target.groups))


def address_of(function: Function, target: Target) -> int:
    """Compile a function; its code stays until the process ends, whoever may still run it by then."""
    with forks.lock:
        return _address_of(function, target)  # which leaves nothing of LLVM's to be freed later on


def _address_of(function: Function, target: Target) -> int:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, jit=True
    )
    # No pass runs before the code is generated: the loops are written as they are to be.
    engine = binding.create_mcjit_compiler(binding.parse_assembly(function.text()), machine)
    engine.finalize_object()
    address = int(engine.get_function_address(function.name))
    engine.detach()
    return address
