"""Cases, from the compiler to the tensors that the machine has filled."""

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from ptx.machine import Launch, run
from ptx.memory import AWAITED, READABLE, Global, Range
from ptx_cases import Case

from fastinit import reference

TESTS = Path(__file__).parent

Recorded = tuple[list[int], list[Launch]]  # the addresses of a case's buffers, and its launches


def recorded(arch: str, cases: list[Case]) -> list[Recorded]:
    """What Triton compiles and launches, in a process of its own, as this one's kernels belong to the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (TESTS, TESTS.parent / "tools")))
    environment["TRITON_DISABLE_LINE_INFO"] = "1"  # a third of the text, for debuggers
    with tempfile.TemporaryDirectory() as cache_dir:  # so that nothing is left on the disk
        environment["TRITON_CACHE_DIR"] = cache_dir
        command = [sys.executable, str(TESTS / "ptx_probe.py"), arch]
        result = subprocess.run(command, env=environment, input=pickle.dumps(cases), capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
    return pickle.loads(result.stdout)


def executed(case: Case, record: Recorded) -> list[torch.Tensor]:
    """The buffers of the tensors, after every thread of every launch. Each byte of a tensor is written once, and no other."""
    addresses, launches = record
    buffers, ranges = [], []
    for part, address in zip(case.parts, addresses, strict=True):
        buffer, tensor = part.memory.tensors(part.dtype)
        state = torch.zeros(buffer.shape, dtype=torch.uint8)
        state.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).fill_(AWAITED)
        ranges.append(Range(address, buffer.view(torch.uint8).numpy(), state.numpy().repeat(buffer.itemsize)))
        buffers.append(buffer)
    for begin, data in [table for launch in launches for table in launch.tables]:
        ranges.append(Range(begin, data, np.full(data.shape, READABLE, "u1")))
    memory = Global(ranges)
    for launch in launches:
        run(launch, memory)
    memory.finish()
    for address, buffer in zip(addresses, buffers, strict=True):
        buffer.view(torch.uint8).numpy()[:] = memory.bytes_of(address, buffer.nbytes)
    return buffers


def expected(case: Case) -> list[torch.Tensor]:
    """The buffers, filled by the reference."""
    buffers = []
    for part in case.parts:
        buffer, tensor = part.memory.tensors(part.dtype)
        whole = torch.empty(part.memory.shape, dtype=part.dtype)
        reference.fill_(whole, part.fill)
        tensor.copy_(whole)
        buffers.append(buffer)
    return buffers
