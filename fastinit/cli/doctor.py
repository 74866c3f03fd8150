"""``python -m fastinit doctor``: versions, devices, known answers, and every backend against the reference."""

import importlib
import os
import platform
from argparse import Namespace
from collections.abc import Iterator, Sequence
from itertools import product
from types import ModuleType

import torch
from torch import Tensor

from fastinit import backends
from fastinit.backends import reference
from fastinit.fill import Fill
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal, Uniform
from fastinit.shard.bits import bits_of
from fastinit.shard.geometry import LocalShard
from fastinit.shard.storage import DTYPES, dtype_name
from fastinit.stream import Key
from fastinit.version import STREAM_VERSION, __version__

# Random123's tests/kat_vectors, philox4x32 with 10 rounds: counter, key, answer.
_KNOWN_ANSWERS = (
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
)
_LAWS: tuple[Distribution, ...] = (
    TruncatedNormal(0.0, 0.02, -0.06, 0.06),
    TruncatedNormal(0.0, 0.02, -2.0, 2.0),
    Normal(0.0, 1.0),
    Uniform(-0.1, 0.1),
)
# A million elements, once as a whole tensor and once as a box of a larger one, whose rows begin off any alignment.
_SHAPE = (1000, 1000)
_PLACES = {"whole": LocalShard.whole(_SHAPE), "box": LocalShard((1003, 1009), (2, 7))}
_KEY = Key.of("doctor", seed=1)


def run(arguments: Namespace) -> int:
    """Print what is found; 0 when all is well, else 1."""
    for line in versions():
        print(line)
    failures = 0
    print()
    for line, well in checks():
        failures += not well
        print(f"{'ok  ' if well else 'FAIL'}  {line}", flush=True)
    print("\nall is well" if failures == 0 else f"\n{failures} failed")
    return 1 if failures else 0


def versions() -> Iterator[str]:
    """What there is on this machine."""
    yield f"fastinit {__version__}, stream version {STREAM_VERSION}"
    yield f"python   {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield f"torch    {torch.__version__}"
    yield f"triton   {_version('triton') or 'not installed: needed on a GPU only'}"
    yield f"llvmlite {_version('llvmlite') or 'not installed: needed on a CPU'}"
    for device in _devices():
        if device.type == "cpu":
            found = f"{os.cpu_count()} cores{_processor()}"
        else:
            properties = torch.cuda.get_device_properties(device)
            found = f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
        yield f"{device!s:8} {found}, {_backend_of(device)}"


def checks() -> Iterator[tuple[str, bool]]:
    """(what was checked, whether it is well)."""
    yield "Random123's known answers of philox4x32-10", all(_known(*answer) for answer in _KNOWN_ANSWERS)
    # The reference against itself: its chunks and strides; its words are checked above.
    found: list[tuple[ModuleType, torch.device]] = [(reference, torch.device("cpu"))]
    for device in _devices():
        try:
            backend = backends.backend_for(device.type)
        except ImportError as error:
            yield f"{device}: its backend cannot be imported: {error}", False
            continue
        if backend is not reference:
            found.append((backend, device))
    for dtype in DTYPES:
        yield from _dtype_checks(found, dtype)


def _dtype_checks(found: Sequence[tuple[ModuleType, torch.device]], dtype: torch.dtype) -> Iterator[tuple[str, bool]]:
    """Of all backends at once, as the reference takes longer than any of them."""
    different: list[list[str]] = [[] for _ in found]
    for law, (place, box) in product(_LAWS, _PLACES.items()):
        fill, expected = Fill(law, _KEY, box), None
        for (backend, device), lines in zip(found, different, strict=True):
            try:
                expected = _by_reference(fill, dtype) if expected is None else expected
                problem = "" if _same_bits(backend, device, fill, expected) else "other bits"
            except Exception as error:  # whatever goes wrong is what the doctor is asked for
                problem = f"{type(error).__name__}: {error}"
            if problem:
                lines.append(f"\n      {problem}: {law}, {place}")
    for (backend, device), lines in zip(found, different, strict=True):
        line = f"{_name(backend)} on {device} = reference, bit for bit, 10**6 elements in {dtype_name(dtype)}"
        yield line + "".join(lines), not lines


def _devices() -> list[torch.device]:
    return [torch.device("cpu"), *(torch.device("cuda", index) for index in range(torch.cuda.device_count()))]


def _known(counter: str, key: str, answer: str) -> bool:
    return bool(torch.equal(reference.philox4x32(_words(counter), _words(key)), _words(answer)))


def _words(text: str) -> Tensor:
    return torch.tensor([int(word, 16) for word in text.split()], dtype=torch.int64)


def _by_reference(fill: Fill, dtype: torch.dtype) -> Tensor:
    tensor = torch.empty(_SHAPE, dtype=dtype)
    reference.fill_(tensor, fill)
    return tensor


def _same_bits(backend: ModuleType, device: torch.device, fill: Fill, expected: Tensor) -> bool:
    """Whether the backend, into every other column of NaN-poisoned memory too, writes what the reference writes."""
    memory = torch.full((_SHAPE[0], 2 * _SHAPE[1]), float("nan"), dtype=expected.dtype, device=device)
    backend.fill_(memory[:, ::2], fill)
    strided = bool(memory[:, 1::2].isnan().all()) and torch.equal(bits_of(memory[:, ::2].cpu()), bits_of(expected))
    if backend is reference:
        return strided  # what is expected is its dense fill
    dense = torch.full(_SHAPE, float("nan"), dtype=expected.dtype, device=device)
    backend.fill_(dense, fill)
    return strided and torch.equal(bits_of(dense.cpu()), bits_of(expected))


def _name(backend: ModuleType) -> str:
    return backend.__name__.rpartition(".")[2]


def _backend_of(device: torch.device) -> str:
    try:
        return f"{_name(backends.backend_for(device.type))} backend"
    except ImportError as error:
        return f"no backend: {error}"


def _processor() -> str:
    """What the llvm backend compiles for."""
    try:
        from fastinit.backends.llvm_compile import host
    except ImportError:
        return ""
    target = host()
    return f" ({target.cpu}, {target.vector_bits}-bit vectors, {'fma' if target.fused else 'no fma'})"


def _version(package: str) -> str | None:
    """What the package itself says, as builds of Triton come under several names; None where it cannot be imported."""
    try:
        return str(importlib.import_module(package).__version__)
    except ImportError:
        return None
