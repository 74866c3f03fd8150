"""``--format dcp``: torch's loader, and torchtitan's, read the bits of a fill, wherever the tensors are to be."""

import json
import os
import resource
import signal
import warnings

import checkpoints
import frameworks
import gloo_ranks
import pytest
import torch
from laws import assert_same_bits
from torch.distributed.checkpoint import filesystem, load
from torchtitan.components.checkpointer.dcp import CheckpointManager

from fastinit import __main__ as cli
from fastinit.checkpoint import contents as contents_module
from fastinit.checkpoint import dcp
from fastinit.checkpoint.document import DOCUMENT, contents_from
from fastinit.checkpoint.live import of_build
from fastinit.checkpoint.preset import of_preset
from fastinit.checkpoint.writing import write
from fastinit.model.presets import preset

SEED = 5


def contents_of(live):
    return live.contents("dcp", "here", live.recipe.rules(SEED), "own", live.recipe)


@pytest.fixture(scope="module")
def tiny():
    return contents_of(of_preset(preset("tiny-moe")))


def nothing(count):
    """What is told of the progress here."""


def expected(contents, name):
    tensor = torch.empty(contents.shape(name), dtype=contents.dtypes[name])
    contents.fill_(name, tensor)
    return tensor


def loaded(folder, contents, prefix=""):
    """What torch's loader reads, over other bits."""
    tensors = {prefix + name: expected(contents, name) for name in contents}
    for tensor in tensors.values():
        tensor.view(torch.uint8 if tensor.ndim else tensor.dtype).fill_(77)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        load(tensors, checkpoint_id=folder)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def assert_loads(folder, contents, prefix=""):
    found = loaded(folder, contents, prefix)
    for name in contents:
        assert_same_bits(found[name], expected(contents, name))


@pytest.mark.parametrize("item", [dcp._ITEM, 100])
def test_torch_loads_what_a_fill_gives(tmp_path, monkeypatch, tiny, item):
    """Whole tensors, and tensors in parts of fifty elements."""
    monkeypatch.setattr(dcp, "_ITEM", item)
    told = []
    assert write(tmp_path / "c", dcp.Distributed(tiny), told.append) == 0
    assert_loads(tmp_path / "c", tiny)
    assert sum(told) == tiny.total_size
    assert len(told) > 500 or item > 100
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [".metadata", "__0_0.distcp", "fastinit.json"]


def test_the_document_says_what_all_values_follow_from(tmp_path, tiny):
    write(tmp_path / "c", dcp.Distributed(tiny), nothing)
    again = contents_from(json.loads((tmp_path / "c" / DOCUMENT).read_text()))
    assert_loads(tmp_path / "c", again)


def test_equal_checkpoints_are_equal_files(tmp_path, tiny):
    """Neither the path nor the time is in them."""
    for name in ("one", "other"):
        write(tmp_path / name, dcp.Distributed(tiny), nothing)
    assert checkpoints.read(tmp_path / "one") == checkpoints.read(tmp_path / "other")


def test_an_item_is_filled_when_it_is_written(tmp_path, monkeypatch, tiny):
    """In the memory of the one before, though torch keeps every tensor."""
    events, fill, write_item = [], contents_module.Contents.fill_, filesystem._write_item

    def filling(contents, name, tensor, shard=None):
        events.append(("filled", name))
        fill(contents, name, tensor, shard)

    def writing(transforms, stream, data, item, *rest):
        assert data.untyped_storage().nbytes() == data.nbytes
        events.append(("written", item.index.fqn))
        return write_item(transforms, stream, data, item, *rest)

    monkeypatch.setattr(contents_module.Contents, "fill_", filling)
    monkeypatch.setattr(filesystem, "_write_item", writing)
    write(tmp_path / "c", dcp.Distributed(tiny), nothing)
    assert events == [(what, name) for name in tiny for what in ("filled", "written")]


def test_a_writer_that_asks_ahead_is_found_out(tmp_path, monkeypatch, tiny):
    """Another version of torch may ask for an item before it has written the one before."""
    values = filesystem._SerialCpuLoader.values
    monkeypatch.setattr(filesystem._SerialCpuLoader, "values", lambda loader: iter(list(values(loader))))
    with pytest.raises(RuntimeError, match="before it has written the one before"):
        write(tmp_path / "c", dcp.Distributed(tiny), nothing)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def micro(monkeypatch):
    checkpoints.with_micro(monkeypatch)


def command(directory, *options):
    return cli.main(["init", "micro-moe", "--seed", "7", "--format", "dcp", "--out", str(directory), *options])


def at_fill(monkeypatch, count, action):
    fill, calls = contents_module.fill_tasks_, []

    def filling(task):
        calls.append(task)
        if len(calls) == count:
            action()
        fill(task)

    monkeypatch.setattr(contents_module, "fill_tasks_", filling)


def test_a_signal_leaves_nothing(tmp_path, capsys, monkeypatch, micro):
    """Where torch has put its items is known at the end alone."""
    at_fill(monkeypatch, 6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert command(tmp_path / "c") == 143
    assert capsys.readouterr().err == "fastinit init: stopped by SIGTERM: what was written is removed\n"
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_becomes_full_ends_in_a_line(tmp_path, capsys, monkeypatch, micro):
    assert command(tmp_path / "compiled") == 0
    capsys.readouterr()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        code = command(tmp_path / "c")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    assert capsys.readouterr().err.endswith("/c: File too large; what was written is removed\n")
    assert [path.name for path in tmp_path.iterdir()] == ["compiled"]


def killed(partial, whole):
    """What a run that was killed has left in the folder."""
    partial.mkdir()
    (partial / "fastinit.json").write_bytes(whole["fastinit.json"])
    for rank in range(3):
        (partial / f"__{rank}_0.distcp").write_bytes(whole["__0_0.distcp"][: 1000 * rank])
    (partial / ".metadata.tmp").write_bytes(b"")


def test_what_a_killed_run_left_is_written_again(tmp_path, capsys, micro):
    assert command(tmp_path / "whole") == 0
    whole = checkpoints.read(tmp_path / "whole")
    partial = tmp_path / "c.partial-0123456789abcdef"
    killed(partial, whole)
    assert command(tmp_path / "c") == 2
    assert "--resume goes on with it" in capsys.readouterr().err
    assert command(tmp_path / "c", "--resume", "--seed", "8") == 2
    assert f"--resume: {partial} is of another recipe" in capsys.readouterr().err
    (partial / "mine").touch()
    assert command(tmp_path / "c", "--resume") == 2
    assert "holds what is no part of it: mine" in capsys.readouterr().err
    (partial / "mine").unlink()
    assert command(tmp_path / "c", "--resume") == 0
    assert checkpoints.read(tmp_path / "c") == whole


def test_a_size_of_files_is_for_safetensors_alone(tmp_path, capsys, micro):
    assert command(tmp_path / "c", "--shard-size", "1GB") == 2
    assert "--shard-size: expected with --format hf alone, got --format dcp" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["titan_llama3", "titan_qwen3", "titan_deepseek_v3", "titan_gpt_oss"])
def test_torchtitan_takes_it_as_its_seed_checkpoint(name, tmp_path):
    """Its own loader, which looks for the last step: ``--out FOLDER/step-0``."""
    contents = contents_of(of_build(frameworks.TORCHTITAN[name], None))
    folder = tmp_path / "outputs" / "checkpoint"
    write(folder / "step-0", dcp.Distributed(contents), nothing)
    model = frameworks.TORCHTITAN[name]()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(7)
    config = CheckpointManager.Config(enable=True, folder="checkpoint", keep_latest_k=0)
    nobody = dict(dataloader=None, optimizers=None, lr_schedulers=None, sd_adapter=None)
    manager = CheckpointManager(config, model_parts=[model], states={}, base_folder=str(folder.parent), **nobody)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        assert manager.load()
    state = model.state_dict()
    assert set(state) == set(contents)
    for name, tensor in state.items():
        assert_same_bits(tensor, expected(contents, name))


def test_ranks_write_their_own_and_others_load_it():
    """Written by 2, 3 and 4 ranks, with and without tensor and expert parallelism; loaded by 3 with FSDP2, and by one."""
    gloo_ranks.run("dcp_cases.py", 4)
