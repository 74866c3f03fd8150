"""Cases, from the compiler to the tensors that the machine has filled."""

import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import torch
from forked import Forked
from ptx.machine import Launch, run
from ptx.memory import AWAITED, READABLE, Global, Range
from ptx_cases import Case

from fastinit import reference

TESTS = Path(__file__).parent

Recorded = tuple[list[int], list[Launch]]  # the addresses of a case's buffers, and its launches


def recorded(arch: str, cases: list[Case]) -> list[Recorded]:
    """What Triton compiles and launches, in a process of its own, as this one's kernels belong to the interpreter."""
    with tempfile.TemporaryDirectory() as folder:  # so that nothing is left on the disk
        asked, told = Path(folder) / "cases", Path(folder) / "launches"
        asked.write_bytes(pickle.dumps(cases))
        # Without lines of the source, a third of the text, and with no stage on the disk but the last.
        settings = {"TRITON_DISABLE_LINE_INFO": "1", "TRITON_STORE_BINARY_ONLY": "1", "TRITON_CACHE_DIR": folder}
        command = [str(TESTS / "ptx_probe.py"), arch, str(asked), str(told)]
        result = Forked(*command, environment=os.environ | settings).wait(timeout=600)
        assert result.returncode == 0, result.stderr
        return pickle.loads(told.read_bytes())


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
