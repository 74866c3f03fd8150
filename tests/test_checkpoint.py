"""A checkpoint is written whole or not at all, read by safetensors, and proved from its metadata."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import fastinit
from fastinit import __main__ as cli
from fastinit.cli import checkpoint
from fastinit.cli.digest import tensor_digest
from fastinit.cli.init import fill_planned, planned_parameters
from fastinit.presets import preset

OPTIONS = ["--method", "llama_depth", "--seed", "7", "--std", "0.03"]


def write(directory, *options):
    return cli.main(["init", "tiny-moe", *OPTIONS, "--out", str(directory), *options])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoints") / "tiny"
    assert write(directory) == 0
    return directory


@pytest.mark.parametrize("dtype", ["bf16", "fp32", "fp16", "fp64"])
def test_safetensors_reads_what_a_fill_gives(tmp_path, dtype):
    assert write(tmp_path / "c", "--dtype", dtype) == 0
    recipe, files = checkpoint.recipe_of(tmp_path / "c")
    model = preset("tiny-moe")
    plan = planned_parameters(model, model.num_layers, "llama_depth", 0.03, 7)
    assert list(files) == [planned.spec.name for planned in plan]
    for planned in plan:
        expected = torch.empty(planned.spec.shape, dtype=getattr(torch, recipe["dtype"]))
        fill_planned(expected, planned)
        with safe_open(tmp_path / "c" / files[planned.spec.name], framework="pt") as file:
            assert file.metadata()["seed"] == "7"
            got = file.get_tensor(planned.spec.name)
        assert got.dtype == expected.dtype
        assert tensor_digest(got) == tensor_digest(expected)


def test_the_index_says_all_that_is_needed(written):
    index = json.loads((written / checkpoint.INDEX).read_text())
    recipe = {
        "preset": "tiny-moe",
        "method": "llama_depth",
        "seed": 7,
        "std": 0.03,
        "stream_version": fastinit.STREAM_VERSION,
    }
    assert {name: index["metadata"][name] for name in recipe} == recipe
    assert {path.name for path in written.iterdir()} == {*index["weight_map"].values(), checkpoint.INDEX}
    size = sum((written / file).stat().st_size for file in index["weight_map"].values())
    assert index["metadata"]["total_size"] <= size <= index["metadata"]["total_size"] + 1024 * len(index["weight_map"])


def test_verify_proves_it(written, capsys):
    assert cli.main(["verify", str(written)]) == 0
    assert "are those of tiny-moe" in capsys.readouterr().out


@pytest.mark.parametrize("end", [1, 2, 77])
def test_a_flipped_byte_is_found_and_named(tmp_path, capsys, end):
    write(tmp_path / "c")
    _, files = checkpoint.recipe_of(tmp_path / "c")
    name = next(name for name in files if "experts" in name)
    path = tmp_path / "c" / files[name]
    data = bytearray(path.read_bytes())
    data[-end] ^= 16
    path.write_bytes(data)
    capsys.readouterr()
    assert cli.main(["verify", str(tmp_path / "c")]) == 1
    out = capsys.readouterr().out
    assert f"{name}: 1 elements differ, the first at index" in out
    assert out.count("differ") == 1


def test_what_is_missing_or_short_is_named(tmp_path, capsys):
    write(tmp_path / "c")
    _, files = checkpoint.recipe_of(tmp_path / "c")
    gone, short = list(files)[2], list(files)[5]
    (tmp_path / "c" / files[gone]).unlink()
    path = tmp_path / "c" / files[short]
    path.write_bytes(path.read_bytes()[:-2])
    assert cli.main(["verify", str(tmp_path / "c")]) == 1
    out = capsys.readouterr().out
    assert f"{gone}: cannot be read" in out
    assert f"{short}: cannot be read" in out


@pytest.mark.parametrize("index", [None, "{}", '{"metadata": {"stream_version": 0}, "weight_map": {}}'])
def test_what_is_no_checkpoint_is_said(tmp_path, capsys, index):
    if index is not None:
        (tmp_path / checkpoint.INDEX).write_text(index)
    assert cli.main(["verify", str(tmp_path)]) == 2
    assert "expected" in capsys.readouterr().err


def test_an_existing_directory_is_refused(written, capsys):
    before = sorted(path.name for path in written.parent.iterdir())
    assert write(written) == 2
    assert "--out: expected a directory that does not exist" in capsys.readouterr().err
    assert sorted(path.name for path in written.parent.iterdir()) == before


def test_an_error_on_the_way_leaves_nothing(tmp_path):
    def fill(name, tensor):
        if name == "b":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(tmp_path / "c", {"a": (4,), "b": (4,)}, torch.float32, {}, fill, lambda count: None)
    assert list(tmp_path.iterdir()) == []


SLOW = """
import sys, time, torch
from pathlib import Path
from fastinit.cli import checkpoint
checkpoint.write(Path(sys.argv[1]), {"a": (4,), "b": (4,)}, torch.float32, {}, lambda n, t: time.sleep(30), len)
"""


def test_a_kill_leaves_nothing_that_looks_whole(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path / "c")])
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("c.partial-*/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "c").exists()
    (partial,) = tmp_path.iterdir()
    assert not (partial / checkpoint.INDEX).exists()
    assert cli.main(["verify", str(partial)]) == 2


def test_plan_prints_the_rules_of_a_preset(capsys):
    assert cli.main(["plan", "tiny-moe", "--method", "llama"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(preset("tiny-moe").specs(preset("tiny-moe").num_layers))
    assert lines[0].split() == ["parameter", "role", "law", "shape"]


def test_plan_prints_the_rules_of_a_model(capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    assert cli.main(["plan", "--model", "planned_model:build"]) == 0
    assert "layers.0.attention.wq.weight" in capsys.readouterr().out
    assert cli.main(["plan", "--model", "planned_model:nothing"]) == 2
    assert cli.main(["plan"]) == 2
