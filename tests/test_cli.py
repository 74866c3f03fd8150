"""The command line, on a preset that fills in a moment."""

import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from forked import Forked

from fastinit import LocalShard
from fastinit.__main__ import _DTYPES as main_dtypes
from fastinit.__main__ import main
from fastinit.backends import reference
from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.preset import recipe_of
from fastinit.checkpoint.shard_file import FORMAT_NAMES
from fastinit.cli import digest, in_memory, memory, progress
from fastinit.fill import Fill
from fastinit.law.formats import FORMATS
from fastinit.law.transformed import Constant
from fastinit.model.filling import fill_planned_
from fastinit.model.plan import plan_of
from fastinit.model.planned import Planned
from fastinit.model.presets import preset
from fastinit.model.scheme import Scheme
from fastinit.model.skeleton import build
from fastinit.shard.storage import DTYPES, STORED, dtype_name
from fastinit.stream import Key

TINY = ["init", "tiny-moe", "--device", "cpu"]


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*TINY, *arguments]) == 0
    return capsys.readouterr().out


def printed_digest(printed: str) -> str:
    (line,) = [line for line in printed.splitlines() if line.startswith("digest: sha256 ")]
    return line.split()[2]


def independent_digest(seed: int, dtype: torch.dtype, layers: int, method: str | None = None) -> str:
    """From the reference, with numpy's bytes, in reverse order: what the command must print."""
    lines = {}
    known = preset("tiny-moe")
    rules = Scheme(method) if method else recipe_of(known).rules(0)
    for planned in reversed(plan_of(build(known, layers), rules)):
        weight = torch.ones(planned.global_shape, dtype=dtype)
        if planned.law != Constant(1.0):
            key = Key.of(planned.name, seed)
            reference.fill_(weight, Fill(planned.law, key, LocalShard.whole(planned.global_shape)))
        raw = weight.view(torch.uint8).numpy().tobytes()
        lines[planned.name] = f"{hashlib.sha256(raw).hexdigest()}  {planned.name}\n"
    return hashlib.sha256("".join(lines[name] for name in sorted(lines)).encode()).hexdigest()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (0, torch.bfloat16, 3)),
        (["--seed", "7", "--dtype", "fp32"], (7, torch.float32, 3)),
        (["--seed", "0xffffffffffffffff", "--dtype", "fp16", "--layers", "1"], (2**64 - 1, torch.float16, 1)),
        (["--dtype", "fp64", "--layers", "2", "--method", "llama_depth"], (0, torch.float64, 2, "llama_depth")),
        (["--rules", "normal"], (0, torch.bfloat16, 3, "normal")),
    ],
)
def test_digest_is_that_of_the_reference(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: tuple[int, torch.dtype, int]
) -> None:
    assert printed_digest(output(capsys, *arguments)) == independent_digest(*expected)


def test_comparing_and_sharding_leave_the_digest_alone(capsys: pytest.CaptureFixture[str]) -> None:
    plain = output(capsys)
    both = output(capsys, "--compare", "--shards", "3")
    assert printed_digest(plain) == printed_digest(both)
    assert "shards: 36 tensors filled again as 3 even and as 3 uneven shards: all bits are equal" in both
    assert "torch.nn.init on the same tensors" in both
    assert "ratio" in both
    assert "ratio" not in plain


def test_table_has_a_row_a_kind(capsys: pytest.CaptureFixture[str]) -> None:
    printed = output(capsys, "--method", "llama_depth", "--no-digest")
    rows = {line.split("  ")[0]: line.split() for line in printed.splitlines()}
    assert "expert w1 and w3 in one" in rows
    assert rows["attention q, k, v"][4:8] == ["9", "40x40,", "8x40", "normal"]
    assert "0.008165 .. 0.014142" in printed
    assert "62,328 elements" in printed
    assert "digest" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["init"], "SOURCE: expected a model, or --recipe"),
        (["init", "gpt"], "olmoe-1b-7b"),
        ([*TINY, "--method", "xavier"], "llama_depth"),
        ([*TINY, "--seed", "-1"], "expected an integer in [0, 2**64), got -1"),
        ([*TINY, "--seed", str(2**64)], "expected an integer in [0, 2**64)"),
        ([*TINY, "--seed", "one"], "expected an integer, got 'one'"),
        ([*TINY, "--std", "nan"], "expected a finite number >= 0, got 'nan'"),
        ([*TINY, "--std", "-1"], "expected a finite number >= 0, got '-1'"),
        ([*TINY, "--dtype", "int8"], "expected one of fp32, bf16, fp16, fp64, got 'int8'"),
        ([*TINY, "--layers", "0"], "expected an integer >= 1, got 0"),
        ([*TINY, "--layers", "4"], "--layers: expected at most the 3 of tiny-moe, got 4"),
        ([*TINY, "--shards", "0"], "expected an integer >= 1, got 0"),
        (["init", "tiny-moe", "--device", "abacus"], "--device: 'abacus' cannot be used"),
        (["init", "tiny-moe", "--device", "meta"], "--device: 'meta' cannot be used"),
        (["plant"], "invalid choice: 'plant'"),
    ],
)
def test_a_wrong_request_is_told_in_a_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as stop:  # argparse's way
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert message in captured.err
    assert captured.out == ""


def test_a_shard_with_other_bits_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def misplaced(tensor: torch.Tensor, planned: Planned, shard: LocalShard | None = None) -> None:
        wrong = (
            shard is not None
            and shard.global_offset[0] > 0
            and planned.name == "model.layers.1.self_attn.o_proj.weight"
        )
        fill_planned_(tensor, planned, LocalShard.whole(shard.global_shape) if wrong else shard)

    monkeypatch.setattr(in_memory, "fill_planned_", misplaced)
    assert main([*TINY, "--shards", "2"]) == 1
    assert "shards: 1 of 36 tensors differ: model.layers.1.self_attn.o_proj.weight" in capsys.readouterr().out


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 331])
@pytest.mark.parametrize("shards", [1, 2, 3, 8, 400])
def test_cuts_tile_the_rows(rows: int, shards: int) -> None:
    for cuts in in_memory.shard_cuts(rows, shards):
        assert len(cuts) == shards + 1
        assert (cuts[0], cuts[-1]) == (0, rows)
        assert cuts == sorted(cuts)


def test_layers_that_fit() -> None:
    model = preset("tiny-moe")
    sizes = [2 * model.numel(layers) for layers in range(4)]
    assert memory.choose_layers(model, 2, 10**9, None)[0] == 3
    assert memory.choose_layers(model, 2, int(sizes[3] / memory.SHARE) + 2, None)[0] == 3
    assert memory.choose_layers(model, 2, int(sizes[3] / memory.SHARE) - 2, None)[0] == 2
    assert memory.choose_layers(model, 2, sizes[3], 3) == (3, "as asked")
    with pytest.raises(UsageError, match="--layers: 3 take"):
        memory.choose_layers(model, 2, sizes[3] - 1, 3)
    with pytest.raises(UsageError, match="one layer of tiny-moe takes"):
        memory.choose_layers(model, 2, sizes[1], None)


def test_free_memory_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_memory, "free_bytes", lambda device: 180_000)
    assert "2 of 3 layers (what fits in 60% of the 0.18 MB that are free; --layers asks for more)" in output(capsys)


def test_free_bytes_is_a_size_of_memory() -> None:
    assert 2**20 < memory.free_bytes(torch.device("cpu")) < 2**50


def test_tensor_digest_is_of_the_elements_in_order() -> None:
    columns_first = torch.arange(12, dtype=torch.float32).reshape(3, 4).t()
    raw = struct.pack("<12f", 0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11)
    assert digest.tensor_digest(columns_first) == hashlib.sha256(raw).hexdigest()


def test_model_digest_sees_names_and_bits() -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    digests = {digest.model_digest(tensors) for tensors in (
        {"a": zero, "b": one}, {"a": one, "b": zero}, {"a": zero, "c": one}, {"a": zero}, {"a": -zero, "b": one},
    )}  # fmt: skip
    assert len(digests) == 5


def test_bar_does_without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with progress.bar(10, "filling") as advance:
        advance(10)


def test_every_dtype_has_its_names():
    assert set(main_dtypes.values()) == {dtype_name(dtype) for dtype in DTYPES} == set(FORMATS)
    assert set(FORMAT_NAMES) == set(STORED)


def test_module_runs_as_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastinit"]
    done = subprocess.run([*command, *TINY, "--no-digest"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert Forked("-m", "fastinit", "init", "gpt").wait().returncode == 2
