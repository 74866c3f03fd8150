"""What stands in for a GPU where tools/gpu_check.py is rehearsed, with ``--on gpu_standin``.

The device is the CPU. Kernels are compiled for sm_90 and launched by Triton as on a GPU, and executed by the PTX machine in this
process's memory. torch.cuda is a stand-in: all is done by the time that a call returns, but under capture, where launches
are kept for the replays. An event counts as done once somebody has waited.
"""

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gpu.here import Here, Sizes
from numpy.typing import NDArray
from ptx.arithmetic import OPERATIONS, Operation
from ptx.machine import Launch, run
from ptx_probe import Driver
from triton.runtime import driver

from bench import small, timing
from fastinit import backends, foreach, op
from fastinit.backends import triton as backend
from fastinit.cli import doctor
from fastinit.shard.geometry import LocalShard

WORKERS = 2
SIZES = Sizes(
    laws=("3sigma",),
    dtypes=(torch.float32,),
    measured=("float32",),
    swept=("3 sigma",),
    variants=1,
    law=2000,
    bank=(3, 24, 40),
    part=2**10,
    sample=2**6,
    fill=4104,
    list=3,
    lists=2,
    bench=(2**10, 2**12),
    sweep=5 * 2**14,  # five blocks
    experts=(1, 1),
    matrix=(8, 16),
    launches=2,
    rounds=(1, 1),
    seconds=0.0,
    busy=0,
    profiled=1000,
    sanitized=1000,
)


def here() -> Here:
    """Called once in a process, of which nothing else is asked."""
    to = Driver("sm_90")
    to.launches = Launches()
    driver.set_active(to)
    for module in (backends, foreach, op):
        module.backend_for = lambda device_type: backend
    backend._capturing = lambda tensor: is_current_stream_capturing()
    for name in ("Event", "Stream", "CUDAGraph", *FUNCTIONS):
        setattr(torch.cuda, name, globals()[name])
    OPERATIONS["min.xorsign.abs.bf16x2"] = Operation(min_xorsign_abs, "b32", ("b32", "b32"))
    doctor._SHAPE, doctor._PLACES, doctor._LAWS = (9, 64), {"whole": LocalShard.whole((9, 64))}, doctor._LAWS[:1]
    timing._FLUSH_BYTES = 2**10
    small.BATCH = 1
    return Here(torch.device("cpu"), SimpleNamespace(type="cuda"), SIZES, WORKERS, "gloo", "aot_eager", __name__)


class Launches(list[Launch]):
    """What the driver notes: executed at once, or kept by the graph that is captured."""

    def append(self, launch: Launch) -> None:
        if _capturing:
            _capturing[-1].launches.append(launch)
        else:
            run(launch, Memory())


class Memory:
    """This process's, as the PTX machine sees a GPU's: numbers side by side, at an address that they divide."""

    def load(self, address: NDArray, dtype: np.dtype, count: int) -> NDArray:
        numbers, place = self._numbers(address, dtype, count)
        return numbers[place]

    def store(self, address: NDArray, values: NDArray) -> None:
        numbers, place = self._numbers(address, values.dtype, values.shape[1])
        numbers[place] = values

    @staticmethod
    def _numbers(address: NDArray, dtype: np.dtype, count: int) -> tuple[NDArray, NDArray]:
        size = dtype.itemsize * count
        assert not (address % size).any()
        begin = int(address.min())
        everything = (ctypes.c_uint8 * (int(address.max()) + size - begin)).from_address(begin)
        place = (address - address.min()) // dtype.itemsize
        return np.frombuffer(everything, dtype), place[:, None] + np.arange(count, dtype="u8")


def min_xorsign_abs(a: NDArray, b: NDArray) -> NDArray:
    """Of two bf16 pairs: each the smaller magnitude, with the product's sign. Magnitudes compare as integers do."""
    one, other = (np.ascontiguousarray(pairs).view("u2") for pairs in np.broadcast_arrays(a, b))
    return (np.minimum(one & 0x7FFF, other & 0x7FFF) | (one ^ other) & 0x8000).view("u4")


_capturing: list["CUDAGraph"] = []
_waits = 0  # how often somebody has waited
FUNCTIONS = (
    "synchronize", "stream", "current_stream", "graph", "is_current_stream_capturing", "_sleep", "memory_allocated",
    "max_memory_allocated", "reset_peak_memory_stats", "get_device_properties",
)  # fmt: skip


class CUDAGraph:
    def __init__(self) -> None:
        self.launches: list[Launch] = []

    def replay(self) -> None:
        for launch in self.launches:
            run(launch, Memory())


@contextmanager
def graph(captured: CUDAGraph) -> Iterator[None]:
    _capturing.append(captured)
    try:
        yield
    finally:
        _capturing.pop()


def is_current_stream_capturing() -> bool:
    return bool(_capturing)


class Event:
    def __init__(self, enable_timing: bool = False) -> None:
        self.recorded: float | None = None

    def record(self) -> None:
        self.recorded, self.waits = time.perf_counter(), _waits

    def query(self) -> bool:
        return _waits > self.waits

    def elapsed_time(self, end: "Event") -> float:
        assert end.query()
        return 1e3 * (end.recorded - self.recorded)


class Stream:
    def wait_stream(self, other: "Stream") -> None:
        assert isinstance(other, Stream)

    def wait_event(self, event: Event) -> None:
        assert event.recorded is not None

    def synchronize(self) -> None:
        synchronize()


_stream = Stream()


def current_stream() -> Stream:
    return _stream


@contextmanager
def stream(of: Stream) -> Iterator[None]:
    assert isinstance(of, Stream)
    yield


def synchronize() -> None:
    global _waits
    assert not _capturing
    _waits += 1


def _sleep(cycles: int) -> None:
    pass


def memory_allocated(device: Any) -> int:
    return 0


max_memory_allocated = memory_allocated


def reset_peak_memory_stats(device: Any) -> None:
    pass


def get_device_properties(device: Any) -> Any:
    return SimpleNamespace(multi_processor_count=2, total_memory=2**30)
