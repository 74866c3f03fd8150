"""The stream promise: the bytes of every public fill, dtype, layout and regime are the ones on file."""

import json

import goldens
import interpreted
import pytest

import fastinit
from fastinit import init, op
from fastinit.backends import reference
from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.lowered import Regime
from fastinit.law.lowering import lower
from fastinit.shard.storage import DTYPES

GOLDENS = json.loads(goldens.FILE.read_text())
LAWS = {"trunc_normal_": TruncatedNormal, "normal_": Normal, "uniform_": Uniform}


def test_goldens_are_of_this_stream():
    assert GOLDENS["stream_version"] == fastinit.STREAM_VERSION


def test_goldens_are_complete():
    """A public fill, a dtype or a regime without a golden is not under the promise."""
    assert {name for name in init.__all__ if name.endswith("_")} == {*goldens.LAWS, *goldens.SCHEMES}
    fills = {name for name in fastinit.__all__ if name.endswith("_") and "model" not in name and "__" not in name}
    assert fills - {"foreach_fill_"} == set(goldens.LAWS)  # whose laws are those of the others
    assert set(goldens.DTYPES.values()) == set(DTYPES)
    regimes = {lower(LAWS[fill](*law)).regime for fill, laws in goldens.LAWS.items() for law in laws.values()}
    assert regimes == set(Regime)
    assert set(GOLDENS["sha256"]) == {" | ".join(case) for case in goldens.cases()}


@pytest.mark.parametrize("case", goldens.cases(), ids=" | ".join)
def test_default_cpu_backend(case):
    assert goldens.digest(*case) == GOLDENS["sha256"][" | ".join(case)]


def test_in_one_list():
    cases = [case for case in goldens.cases() if case[0] in goldens.LAWS]
    tensors, shards = zip(*(goldens.LAYOUTS[layout](goldens.DTYPES[dtype]) for *_, dtype, layout in cases), strict=True)
    laws = [LAWS[fill](*goldens.LAWS[fill][law]) for fill, law, *_ in cases]
    filled = fastinit.foreach_fill_(tensors, laws, keys=[goldens.KEY] * len(cases), shards=shards)
    digests = {" | ".join(case): goldens.sha256(tensor) for case, tensor in zip(cases, filled, strict=True)}
    assert digests.items() <= GOLDENS["sha256"].items()


@pytest.mark.parametrize("case", goldens.cases(), ids=" | ".join)
def test_reference(case, monkeypatch):
    monkeypatch.setattr(op, "backend_for", lambda device_type: reference)
    assert goldens.digest(*case) == GOLDENS["sha256"][" | ".join(case)]


@pytest.mark.parametrize("case", goldens.cases()[::3], ids=" | ".join)
def test_kernels(case, monkeypatch):
    monkeypatch.setattr(op, "backend_for", lambda device_type: interpreted)
    assert goldens.digest(*case) == GOLDENS["sha256"][" | ".join(case)]


def test_writer_refuses_other_values_of_the_same_version(monkeypatch, tmp_path, capsys):
    changed = GOLDENS | {"sha256": GOLDENS["sha256"] | {"normal_ | 0.02 | fp32 | flat": "0" * 64}}
    file = tmp_path / "goldens.json"
    file.write_text(json.dumps(changed))
    monkeypatch.setattr(goldens, "FILE", file)
    monkeypatch.setattr(goldens, "digest", lambda *case: GOLDENS["sha256"][" | ".join(case)])
    monkeypatch.setattr("sys.argv", ["goldens"])
    assert goldens.main() == 1
    assert "refused: 1 values differ, among them normal_ | 0.02 | fp32 | flat" in capsys.readouterr().err
    assert json.loads(file.read_text()) == changed
    monkeypatch.setattr(fastinit, "STREAM_VERSION", fastinit.STREAM_VERSION + 1)
    assert goldens.main() == 0
    assert json.loads(file.read_text())["sha256"] == GOLDENS["sha256"]
