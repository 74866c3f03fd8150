"""``python -m fastinit doctor``: well on this machine, and not well with anything wrong."""

import sys
from types import ModuleType, SimpleNamespace

import llvmlite
import pytest
import torch

from fastinit import LocalShard
from fastinit.__main__ import main
from fastinit.backends import reference
from fastinit.backends.llvm_compile import host
from fastinit.cli import doctor
from fastinit.fill import Fill


@pytest.fixture
def small_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor's checks on a thousandth of the elements."""
    monkeypatch.setattr(doctor, "_SHAPE", (30, 31))
    monkeypatch.setattr(doctor, "_PLACES", {"box": LocalShard((33, 40), (2, 7))})


def backend_called(name: str, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A backend that is not the reference, but does as it does."""
    backend = SimpleNamespace(__name__=f"fastinit.backends.{name}", fill_=reference.fill_)
    monkeypatch.setattr(doctor.backends, "backend_for", lambda device_type: backend)
    return backend


def test_doctor_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith("\nall is well\n")
    assert f"torch    {torch.__version__}" in printed
    for dtype in ("float32", "bfloat16", "float16", "float64"):
        assert f"ok    reference on cpu = reference, bit for bit, 10**6 elements in {dtype}" in printed


@pytest.mark.usefixtures("small_doctor")
def test_doctor_names_the_processor_that_is_compiled_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert f"llvmlite {llvmlite.__version__}" in printed
    target = host()
    vectors = f"{target.vector_bits}-bit vectors, {'fma' if target.fused else 'no fma'}"
    assert f" cores ({target.cpu}, {vectors}), llvm backend\n" in printed


@pytest.mark.usefixtures("small_doctor")
def test_doctor_fails_without_llvmlite(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing slower takes its place."""
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    for module in [name for name in sys.modules if name.startswith("fastinit.backends.llvm")]:
        monkeypatch.delitem(sys.modules, module)
    doctor.backends.backend_for.cache_clear()
    assert main(["doctor"]) == 1
    doctor.backends.backend_for.cache_clear()
    printed = capsys.readouterr().out
    assert "llvmlite not installed: needed on a CPU" in printed
    assert "FAIL  cpu: its backend cannot be imported" in printed


@pytest.mark.usefixtures("small_doctor")
def test_doctor_finds_one_wrong_bit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    backend = backend_called("abacus", monkeypatch)
    assert main(["doctor"]) == 0
    assert "ok    abacus on cpu = reference" in capsys.readouterr().out

    def fill_(tensor: torch.Tensor, fill: Fill) -> None:
        reference.fill_(tensor, fill)
        if tensor.dtype == torch.float16:
            tensor[17, 5] = torch.nextafter(tensor[17, 5], torch.tensor(1.0, dtype=torch.float16))

    backend.fill_ = fill_
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "FAIL  abacus on cpu = reference, bit for bit, 10**6 elements in float16" in printed
    assert printed.endswith("\n1 failed\n")


@pytest.mark.usefixtures("small_doctor")
@pytest.mark.parametrize("spill", [0, 1])
def test_doctor_finds_a_store_outside_of_the_tensor(spill: int, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = backend_called("abacus", monkeypatch)

    def fill_(tensor: torch.Tensor, fill: Fill) -> None:
        reference.fill_(tensor, fill)
        if tensor.stride(1) == 2 and spill:
            tensor.as_strided((1,), (1,), 1).zero_()

    backend.fill_ = fill_
    assert main(["doctor"]) == spill


@pytest.mark.usefixtures("small_doctor")
def test_doctor_survives_a_backend_that_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_(tensor: torch.Tensor, fill: Fill) -> None:
        raise RuntimeError("no beads")

    backend_called("abacus", monkeypatch).fill_ = fill_
    assert main(["doctor"]) == 1
    assert "RuntimeError: no beads" in capsys.readouterr().out

    def absent(device_type: str) -> ModuleType:
        raise ImportError("No module named 'abacus'")

    monkeypatch.setattr(doctor.backends, "backend_for", absent)
    assert main(["doctor"]) == 1
    assert "FAIL  cpu: its backend cannot be imported: No module named 'abacus'" in capsys.readouterr().out


@pytest.mark.usefixtures("small_doctor")
def test_doctor_finds_a_wrong_generator(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    right = reference.philox4x32
    monkeypatch.setattr(reference, "philox4x32", lambda counter, key: right(counter, key, 9))
    assert main(["doctor"]) == 1
    assert "FAIL  Random123's known answers of philox4x32-10" in capsys.readouterr().out
