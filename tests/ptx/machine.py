"""Executes a kernel for all threads at once: a register is an array with an element for each thread.

Threads go apart at a branch. Those at the earliest instruction run first, until others are there, too, so that threads
come together where they can, as they must before a barrier. See the chapters "Control Flow Instructions" and "Parallel
Synchronization and Communication Instructions" of the PTX ISA.
"""

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from ptx import text
from ptx.arithmetic import OPERATIONS, TYPES
from ptx.memory import Global, Shared
from ptx.text import Address, Instruction, Kernel, Operand, PtxError

BLOCKS = 64  # that run at once; more would only take more memory
_ACCESS = re.compile(
    r"(?P<what>ld|st)\.(?P<space>global|shared)(?:::cta)?(?:\.v(?P<count>[24]))?\.(?P<type>b16|b32|b64)"
)
_SHARED_ARRAY = "global_smem"  # Triton's name for all of it; it begins at address 0

parse = lru_cache(maxsize=None)(text.parse)


class Launch(NamedTuple):
    text: str  # of the kernel
    shared: int  # bytes of shared memory
    programs: int  # blocks
    arguments: tuple[int, ...]  # the bits of each parameter
    tables: tuple[tuple[int, NDArray[np.uint8]], ...]  # address and bytes of each tensor that it reads


def run(launch: Launch, memory: Global) -> None:
    kernel = parse(launch.text)
    for first in range(0, launch.programs, BLOCKS):
        _Threads(kernel, launch, range(first, min(first + BLOCKS, launch.programs)), memory).run()


class _Threads:
    """All threads of some blocks. ``lanes`` are the numbers of those that an instruction is for, in ascending order."""

    def __init__(self, kernel: Kernel, launch: Launch, blocks: range, memory: Global) -> None:
        self.kernel, self.memory, self.shared = kernel, memory, Shared(len(blocks), launch.shared)
        self.parameters = dict(zip(kernel.parameters, launch.arguments, strict=True))
        self.lanes = np.arange(len(blocks) * kernel.threads)
        self.block, self.thread = np.divmod(self.lanes, kernel.threads)
        special = {"%tid.x": self.thread, "%ctaid.x": self.block + blocks.start}
        self.registers: dict[str, NDArray] = {name: value.astype("u4") for name, value in special.items()}
        self.written: dict[str, NDArray[np.bool_]] = {}  # by which threads, of registers that not all have written

    def run(self) -> None:
        heads = set(self.kernel.labels.values())
        waiting: dict[int, NDArray] = {}  # position -> lanes

        def wait(position: int, lanes: NDArray) -> None:
            if len(lanes):
                waiting[position] = np.union1d(waiting[position], lanes) if position in waiting else lanes

        wait(0, self.lanes)
        while waiting:
            position = min(waiting)
            lanes = waiting.pop(position)
            while True:
                instruction = self.kernel.instructions[position]
                position += 1
                try:
                    active = self._active(instruction, lanes)
                    if instruction.opcode in ("bra", "bra.uni", "ret"):
                        if instruction.opcode != "ret":
                            wait(self.kernel.labels[instruction.operands[0]], active)
                        wait(position, np.setdiff1d(lanes, active, assume_unique=True))
                        break
                    if len(active):
                        self._execute(instruction, active)
                except (PtxError, ValueError) as error:
                    raise PtxError(f"{instruction.text} {error}") from error
                if position in heads:  # where others may be, or come from a branch
                    wait(position, lanes)
                    break

    def _active(self, instruction: Instruction, lanes: NDArray) -> NDArray:
        """The lanes that do not pass over the instruction."""
        if instruction.guard is None:
            return lanes
        return lanes[self._read(instruction.guard, lanes, TYPES["pred"]) != instruction.negated]

    def _execute(self, instruction: Instruction, lanes: NDArray) -> None:
        opcode, operands = instruction.opcode, instruction.operands
        if opcode in OPERATIONS:
            function, result, sources = OPERATIONS[opcode]
            values = [self._read(value, lanes, TYPES[of]) for value, of in zip(operands[1:], sources, strict=True)]
            self._write(operands[0], lanes, np.asarray(function(*values), TYPES[result]))
        elif opcode.startswith("mov."):
            self._move(operands, lanes, TYPES[opcode.removeprefix("mov.")])
        elif opcode.startswith("ld.param."):
            (name, offset), size = operands[1], TYPES[opcode.removeprefix("ld.param.")].itemsize
            if offset or TYPES[self.kernel.parameters[name]].itemsize != size:
                raise PtxError("reads a part of a parameter")
            # "Operand Size Exceeding Instruction-Type Size": what is loaded into a larger register is extended by zeros.
            size = max(size, self._type_of(operands[0]).itemsize)
            self._write(operands[0], lanes, _number(self.parameters[name], np.dtype(f"u{size}")))
        elif access := _ACCESS.fullmatch(opcode):
            self._access(operands, lanes, access)
        elif opcode == "}":
            for name in operands:
                self.registers.pop(name, None)
        elif opcode == "bar.sync" and operands == (0,):
            blocks, threads = np.unique(self.block[lanes], return_counts=True)
            if (threads != self.kernel.threads).any():
                raise PtxError("is a barrier that not all threads of a block are at")
            self.shared.barrier(blocks)
        else:
            raise PtxError("is not known here")

    def _access(self, operands: tuple[Operand, ...], lanes: NDArray, access: re.Match[str]) -> None:
        """A load or a store, of one number or of some side by side."""
        place, names = operands if access["what"] == "st" else reversed(operands)
        names = names if isinstance(names, tuple) else (names,)
        if not isinstance(place, Address) or len(names) != int(access["count"] or 1):
            raise PtxError("has other operands than its opcode says")
        dtype, pointer = TYPES[access["type"]], np.dtype("u8" if access["space"] == "global" else "u4")
        address = self._read(place.base, lanes, pointer) + _number(place.offset, pointer)
        where = [np.broadcast_to(address, lanes.shape)]
        if access["space"] == "shared":
            where = [self.block[lanes], self.thread[lanes], *where]
        memory = self.memory if access["space"] == "global" else self.shared
        if access["what"] == "st":
            values = [np.broadcast_to(self._read(name, lanes, dtype), lanes.shape) for name in names]
            memory.store(*where, np.stack(values, 1))
        else:
            for name, values in zip(names, memory.load(*where, dtype, len(names)).T, strict=True):
                self._write(name, lanes, np.ascontiguousarray(values))

    def _move(self, operands: tuple[Operand, ...], lanes: NDArray, dtype: np.dtype) -> None:
        """From a register to another, or to or from several, each of which holds a part, low bits first."""
        target, source = operands
        if isinstance(source, tuple):
            part = np.dtype(f"u{dtype.itemsize // len(source)}")
            parts = [np.broadcast_to(self._read(name, lanes, part), lanes.shape) for name in source]
            self._write(target, lanes, np.stack(parts, 1).view(dtype)[:, 0])
            return
        value = self._read(source, lanes, dtype)
        if isinstance(target, tuple):
            part = np.dtype(f"u{dtype.itemsize // len(target)}")
            for k, name in enumerate(target):
                if name != "_":
                    self._write(name, lanes, (value >> _number(8 * part.itemsize * k, dtype)).astype(part))
        else:
            self._write(target, lanes, value)

    def _read(self, operand: Operand, lanes: NDArray, dtype: np.dtype) -> NDArray:
        """The operand of each lane, or one that is the same for all."""
        if isinstance(operand, int):
            return _number(operand, dtype)
        if operand == _SHARED_ARRAY:
            return _number(0, dtype)
        value = self.registers.get(operand)
        if value is None or (operand in self.written and not self.written[operand][lanes].all()):
            raise PtxError(f"reads {operand}, which is not written")
        if value.dtype.itemsize != dtype.itemsize:
            raise PtxError(f"reads {operand}, which is of another size")
        return (value if len(lanes) == len(self.lanes) else value[lanes]).view(dtype)

    def _type_of(self, name: Operand) -> np.dtype:
        return TYPES[self.kernel.registers[name.rstrip("0123456789")]]

    def _write(self, name: Operand, lanes: NDArray, value: NDArray) -> None:
        dtype = self._type_of(name)
        if value.dtype.itemsize != dtype.itemsize:
            raise PtxError(f"writes {name}, which is of another size")
        value = value.view(dtype)
        if len(lanes) == len(self.lanes):
            self.registers[name] = value if len(value) == len(lanes) else np.broadcast_to(value, lanes.shape)
            self.written.pop(name, None)
            return
        if name not in self.registers:
            self.registers[name] = np.zeros(self.lanes.shape, dtype)
            self.written[name] = np.zeros(self.lanes.shape, bool)
        self.registers[name] = self.registers[name].copy()  # as it may be another register's array, too
        self.registers[name][lanes] = value
        if name in self.written:
            self.written[name][lanes] = True


def _number(bits: int, dtype: np.dtype) -> NDArray:
    """For all lanes; bits beyond the type's are cut off, as a negative number's are."""
    return np.array([bits & (1 << 8 * dtype.itemsize) - 1], f"u{dtype.itemsize}").view(dtype)
