"""Run by test_ptx.py in a process of its own: fills compiled for a GPU and launched as there, but for the GPU.

    python ptx_probe.py sm_90 cases launches

Reads a file of pickled Cases, and writes another: for each of them, the addresses of its tensors' buffers and its launches. With
TWOS for a target, kernels take gfx942's way to its packed fma, which stands in the PTX of sm_80 as it would in gfx942's assembly.
"""

import gc
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import null_driver
import numpy as np
import torch
import triton.language as tl
from ptx.machine import Launch
from ptx_cases import TWOS, Case
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import CUDABackend
from triton.runtime import driver
from triton.runtime.jit import constexpr_function

from fastinit import foreach, foreach_fill_
from fastinit.backends import triton as backend
from fastinit.backends import triton_table
from fastinit.kernels import rounding


class Driver(null_driver.Driver):
    """Notes each launch. What would be assembled for a GPU is loaded as it is."""

    def __init__(self, arch: str) -> None:
        self.target = GPUTarget("cuda", int(arch.removeprefix("sm_")), 32)
        self.launches: list[Launch] = []
        CUDABackend.make_cubin = lambda self, text, *options: text.encode()

    class utils(null_driver.Driver.utils):
        @staticmethod
        def load_binary(name: str, binary: bytes, shared: int, device: int) -> tuple[Any, ...]:
            return 0, (binary.decode(), shared), 0, 0, 1024

        @staticmethod
        def unload_module(module: object) -> None:
            pass

    def launcher_cls(self, source: Any, metadata: Any) -> Any:
        def launch(
            programs: int, y: int, z: int, stream: int, function: Any, packed: Any, noted: Any, enter: Any, leave: Any,
            *arguments: object,
        ) -> None:  # fmt: skip
            assert (y, z) == (1, 1)
            passed = list(_passed(tuple(source.signature.values()), arguments))
            # Two more pointers, to scratch memory that no kernel of ours has.
            bits = (*(_bits(kind, value) for kind, value in passed), 0, 0)
            tables = [value for name, value in zip(source.signature, arguments, strict=True) if name in TABLES]
            bytes_of_tables = tuple((table.data_ptr(), table.view(torch.uint8).numpy().copy()) for table in tables)
            self.launches.append(Launch(*function, programs, bits, bytes_of_tables))

        return launch

    def get_current_target(self) -> GPUTarget:
        return self.target


TABLES = ("rows_ptr", "laws_ptr", "row_of_program_ptr")  # all tensors that a kernel reads


def _passed(kinds: tuple[Any, ...], values: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """The types and values of arguments, those of a tuple one by one, without what the kernel is compiled for."""
    for kind, value in zip(kinds, values, strict=True):
        if isinstance(kind, tuple):
            yield from _passed(kind, value)
        elif kind != "constexpr":
            yield kind, value


def _bits(kind: str, value: Any) -> int:
    """As a GPU's launcher packs them."""
    if isinstance(value, torch.Tensor):
        return value.data_ptr()
    if kind == "fp32":
        return int(np.array(value, "f4").view("u4"))
    return int(value) & (1 << int(kind[1:])) - 1


def launches(case: Case, to: Driver) -> tuple[list[int], list[Launch]]:
    before = len(to.launches)
    memories = [part.memory.tensors(part.dtype) for part in case.parts]
    fills = [part.fill for part in case.parts]
    default = backend.PROGRAMS
    backend.PROGRAMS = triton_table.PROGRAMS = case.programs or default
    if len(fills) == 1:
        backend.fill_(memories[0][1], fills[0])
    else:
        foreach_fill_(
            [tensor for _, tensor in memories],
            [fill.distribution for fill in fills],
            keys=[fill.key for fill in fills],
            shards=[fill.shard for fill in fills],
        )
    backend.PROGRAMS = triton_table.PROGRAMS = default
    return [buffer.data_ptr() for buffer, _ in memories], to.launches[before:]


@constexpr_function
def always():
    return True


def main(arch: str, asked: str, told: str) -> None:
    if arch == TWOS:
        arch = "sm_80"
        rounding.is_hip_cdna3 = always
        rounding.TWO_FMAS = tl.constexpr(rounding.TWO_FMAS.value + ";")
        rounding.IN_VECTOR_REGISTERS = tl.constexpr("=l,l,l,l")
    to = Driver(arch)
    driver.set_active(to)
    foreach.backend_for = lambda device_type: backend
    gc.disable()  # a compiler's garbage is gone with its process
    Path(told).write_bytes(pickle.dumps([launches(case, to) for case in pickle.loads(Path(asked).read_bytes())]))


if __name__ == "__main__":
    main(*sys.argv[1:])
