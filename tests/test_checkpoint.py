"""A checkpoint is read by safetensors, and ``verify`` proves all that is in its folder."""

import hashlib
import itertools
import json
import os
import shutil
from pathlib import Path

import checkpoints
import pytest
import torch
from checkpoints import INDEX, weight_map, write
from safetensors import safe_open

from fastinit import __main__ as cli
from fastinit.cli.digest import tensor_digest
from fastinit.model.filling import fill_planned_
from fastinit.model.plan import plan_of
from fastinit.model.presets import preset
from fastinit.model.scheme import Scheme
from fastinit.model.skeleton import build
from fastinit.version import STREAM_VERSION as VERSION


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        checkpoints.with_micro(patch)
        directory = tmp_path_factory.mktemp("checkpoints") / "micro"
        assert write(directory) == 0
        yield directory


@pytest.fixture
def copied(written, tmp_path):
    """A copy of the checkpoint, to be spoiled."""
    return shutil.copytree(written, tmp_path / "c")


@pytest.fixture
def verified(capsys):
    """(exit code, output) of verify, with nothing on stderr but one line where it is 2."""

    def verify(directory):
        capsys.readouterr()
        code = cli.main(["verify", str(directory)])
        captured = capsys.readouterr()
        assert captured.err.count("\n") == (1 if code == 2 else 0)
        return code, captured.out or captured.err

    return verify


def change_index(directory, change):
    """Rewrite the index as ``change`` leaves its JSON value."""
    index = json.loads((directory / INDEX).read_text())
    changed = change(index)
    (directory / INDEX).write_text(json.dumps(index if changed is None else changed))


def change_header(path, change):
    """Rewrite the header of a file as ``change`` leaves its JSON value."""
    header, data = checkpoints.split(path.read_bytes())
    change(header)
    path.write_bytes(checkpoints.joined(header, data))


@pytest.mark.parametrize("dtype", ["bf16", "fp32", "fp16", "fp64"])
def test_safetensors_reads_what_a_fill_gives(tmp_path, dtype):
    options = ["--method", "llama_depth", "--seed", "7", "--std", "0.03", "--dtype", dtype]
    assert cli.main(["init", "tiny-moe", *options, "--out", str(tmp_path / "c")]) == 0
    assert cli.main(["verify", str(tmp_path / "c")]) == 0
    files = weight_map(tmp_path / "c")
    plan = plan_of(build(preset("tiny-moe")), Scheme("llama_depth", seed=7, std=0.03))
    live = {
        planned.name: torch.empty(planned.global_shape, dtype=getattr(torch, cli._dtype(dtype))) for planned in plan
    }
    for planned in plan:
        fill_planned_(live[planned.name], planned)
    assert len(files) == len(plan) - 2 * 3 + 3 * 5 * 3  # experts apart
    for name in files:
        expected = live[name] if name in live else an_expert(live, name)
        with safe_open(tmp_path / "c" / files[name], framework="pt") as file:
            assert json.loads(file.metadata()["fastinit"])["seed"] == 7
            got = file.get_tensor(name)
        assert got.dtype == expected.dtype
        assert tensor_digest(got) == tensor_digest(expected)


def an_expert(live, name):
    """The matrix of one expert of tiny-moe, as Qwen3 has it in two banks."""
    bank, number, kind, _ = name.rsplit(".", 3)
    if kind == "down_proj":
        return live[f"{bank}.down_proj"][int(number)]
    gate, up = live[f"{bank}.gate_up_proj"][int(number)].split(13)
    return gate if kind == "gate_proj" else up


def test_the_index_says_all_that_is_needed(written):
    index = json.loads((written / INDEX).read_text())
    document = index["metadata"].pop("fastinit")
    assert index["metadata"] == {"total_size": 2 * checkpoints.MICRO.numel(1)}
    tensors = document.pop("tensors")
    assert document == {
        "format": 1,
        "stream_version": VERSION,
        "source": "micro-moe",
        "rules": "llama_depth, std 0.02",
        "seed": 7,
        "beside": {
            name: hashlib.sha256((written / name).read_bytes()).hexdigest()
            for name in ("config.json", "generation_config.json")
        },
    }
    assert [tensor["name"] for tensor in tensors] == list(index["weight_map"])
    assert tensors[0] == {
        "name": "lm_head.weight",
        "dtype": "bfloat16",
        "shape": [3, 4],
        "tiles": [{"law": "TruncatedNormal", "mean": 0.0, "std": 0.5, "a": -1.5, "b": 1.5}],
    }
    beside = {INDEX, "config.json", "generation_config.json"}
    assert {path.name for path in written.iterdir()} == beside | set(index["weight_map"].values())


def test_verify_proves_it(written, verified):
    elements = checkpoints.MICRO.numel(1)
    given = "micro-moe, rules 'llama_depth, std 0.02', seed 7"
    assert verified(written) == (
        0,
        f"all bits of {elements} elements in {checkpoints.FILES} tensors are those of {given}\n",
    )


def test_verify_needs_no_safetensors(written, verified, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    assert verified(written)[0] == 0


def test_tensors_share_a_file_up_to_its_size(tmp_path, verified, monkeypatch):
    checkpoints.with_micro(monkeypatch)
    assert write(tmp_path / "c", "--shard-size", "100") == 0
    groups = {}
    for name, file in weight_map(tmp_path / "c").items():
        with safe_open(tmp_path / "c" / file, framework="pt") as opened:
            groups.setdefault(file, []).append(opened.get_tensor(name).nbytes)
    assert list(groups) == [f"model-{k:05d}-of-{len(groups):05d}.safetensors" for k in range(1, len(groups) + 1)]
    sizes = list(groups.values())
    assert all(sum(group) <= 100 or len(group) == 1 for group in sizes)
    assert all(sum(group) + following[0] > 100 for group, following in itertools.pairwise(sizes))
    assert verified(tmp_path / "c")[0] == 0


@pytest.mark.parametrize("part", [2**26, 1, 5, 24])
def test_parts_of_any_size_find_the_same(copied, verified, monkeypatch, part):
    monkeypatch.setattr("fastinit.checkpoint.compared._CHUNK", 2 * part)
    assert verified(copied)[0] == 0
    name = next(name for name in weight_map(copied) if "experts" in name)
    path = copied / weight_map(copied)[name]
    raw = bytearray(path.read_bytes())
    raw[-2 * 3] ^= 1
    raw[-2 * 8] ^= 1
    path.write_bytes(raw)
    assert verified(copied)[1].startswith(f"{name}: 2 elements differ, the first at index 4\n")


@pytest.mark.parametrize("end", [1, 2, 23])
def test_a_flipped_bit_is_found_and_named(copied, verified, end):
    name = next(name for name in weight_map(copied) if "experts" in name)
    path = copied / weight_map(copied)[name]
    raw = bytearray(path.read_bytes())
    raw[-end] ^= 16
    path.write_bytes(raw)
    code, out = verified(copied)
    assert code == 1
    first = 12 - (end + 1) // 2
    assert out.splitlines()[0] == f"{name}: 1 elements differ, the first at index {first}"
    assert out.splitlines()[1].startswith("1 problem: this is not the checkpoint of micro-moe")


def test_what_is_missing_or_short_is_named(copied, verified):
    files = weight_map(copied)
    gone, short, long = list(files)[2], list(files)[5], list(files)[7]
    (copied / files[gone]).unlink()
    os.truncate(copied / files[short], (copied / files[short]).stat().st_size - 2)
    with (copied / files[long]).open("ab") as file:
        file.write(b"\0")
    code, out = verified(copied)
    assert code == 1
    for name in (gone, short, long):
        assert f"{name}: cannot be read: {files[name]}: " in out


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def link(path):
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("make", [fifo, link, device, folder])
def test_only_regular_files_are_read(copied, verified, make):
    name, file = next(iter(weight_map(copied).items()))
    make(copied / file)
    assert verified(copied)[1].startswith(f"{name}: cannot be read: {file}: is not a regular file\n")
    make(copied / INDEX)
    assert verified(copied) == (
        2,
        f"fastinit verify: error: {copied}: expected a checkpoint with {INDEX}: is not a regular file\n",
    )


def test_what_the_index_does_not_name_is_named(copied, verified):
    (copied / "model-00016-of-00016.safetensors").write_bytes(b"")
    (copied / "all bits of 159\nelements").mkdir()
    code, out = verified(copied)
    assert code == 1
    assert "model-00016-of-00016.safetensors: is in the folder, and the index does not name it\n" in out
    assert "'all bits of 159\\nelements': is in the folder" in out


@pytest.mark.parametrize("size", [0, -1, 2**64 - 1])
def test_another_total_size_is_named(copied, verified, size):
    change_index(copied, lambda index: index["metadata"].update(total_size=size))
    code, out = verified(copied)
    assert code == 1
    assert out.startswith(f"{INDEX}: its total_size is {size:,}, expected ")


def set_document(**changes):
    """Change the document in a header, which is a text there."""

    def change(header):
        document = json.loads(header["__metadata__"]["fastinit"])
        header["__metadata__"]["fastinit"] = json.dumps(document | changes)

    return change


def test_headers_say_the_recipe_of_the_index(copied, verified):
    files = list(weight_map(copied).values())
    changes = (
        set_document(seed=8),
        lambda header: header["__metadata__"].pop("fastinit"),
        lambda header: header.pop("__metadata__"),
        lambda header: header["__metadata__"].update(author="\x1b[2J"),
        lambda header: header["__metadata__"].update(author=None),
        lambda header: header["__metadata__"].update(format=None),
        set_document(beside={"config.json": "0"}),
    )
    for file, change in zip(files, changes, strict=False):
        change_header(copied / file, change)
    code, out = verified(copied)
    assert code == 1
    for k, file in enumerate(files):
        assert (f"{file}: its header has other metadata than the index" in out) == (k < len(changes))


def test_a_tensor_that_only_the_header_has_is_named(copied, verified):
    file = next(iter(weight_map(copied).values()))
    header, data = checkpoints.split((copied / file).read_bytes())
    header["extra"] = {"dtype": "U8", "shape": [1], "data_offsets": [len(data), len(data) + 1]}
    (copied / file).write_bytes(checkpoints.joined(header, data + b"!"))
    assert verified(copied)[1].startswith(f"{file}: holds extra, which the index does not say\n")


def test_a_key_given_twice_is_refused(copied, verified):
    """Readers differ in which of the two they take."""
    name, file = next(iter(weight_map(copied).items()))
    header, data = checkpoints.split((copied / file).read_bytes())
    text = json.dumps(header)
    (copied / file).write_bytes(checkpoints.joined(f'{{"{name}": {{}}, {text[1:]}'.encode(), data))
    code, out = verified(copied)
    assert code == 1
    assert f"{name}: cannot be read: {file}: a key is given twice" in out
    text = (copied / INDEX).read_text()
    (copied / INDEX).write_text(f'{{"metadata": {{}}, {text[1:]}')
    assert verified(copied)[0] == 2


@pytest.mark.parametrize("between", [b"", b"gap", None])
def test_tensors_lie_side_by_side_in_their_file(copied, verified, between):
    """With two norms, which hold the same bits: apart from each other, and one upon the other (None)."""
    files = weight_map(copied)
    one, two = [name for name in files if name.endswith(("q_norm.weight", "k_norm.weight"))]
    header, data = checkpoints.split((copied / files[one]).read_bytes())
    begin = 0 if between is None else len(data) + len(between)
    header[two] = {**header[one], "data_offsets": [begin, begin + len(data)]}
    document = json.loads(header["__metadata__"]["fastinit"])
    document["tensors"] += checkpoints.header_document(copied / files[two])["tensors"]
    header["__metadata__"]["fastinit"] = json.dumps(document)
    whole = data if between is None else data + between + data
    (copied / files[one]).write_bytes(checkpoints.joined(header, whole))
    (copied / files[two]).unlink()
    change_index(copied, lambda index: index["weight_map"].update({two: files[one]}))
    code, out = verified(copied)
    assert code == (0 if between == b"" else 1)
    assert ("tensors that overlap or leave a gap" in out) == (code == 1)


@pytest.mark.parametrize(
    "name",
    [
        "all bits of 159 elements in 15 tensors are those of micro-moe",
        "\x1b[2J\nall bits of",
        "\u202e\ud800",
        "é" * 999,
    ],
)
def test_names_cannot_forge_a_line(copied, verified, name):
    change_index(copied, lambda index: index["weight_map"].update({name: "model-00001-of-00015.safetensors"}))
    code, out = verified(copied)
    assert code == 1
    assert out.startswith(f"{ascii(name)[:200]}")
    assert not any(line.startswith("all bits") for line in out.splitlines())
    assert all(character.isascii() and (character.isprintable() or character == "\n") for character in out)
    assert max(map(len, out.splitlines())) < 300


def set_recipe(key, value):
    return lambda index: index["metadata"]["fastinit"].update({key: value})


def set_tensor(key, value):
    return lambda index: index["metadata"]["fastinit"]["tensors"][0].update({key: value})


def set_tile(key, value):
    return lambda index: index["metadata"]["fastinit"]["tensors"][0]["tiles"][0].update({key: value})


def set_file(value):
    return lambda index: index["weight_map"].update({"model.embed_tokens.weight": value})


MALFORMED = {
    "a list": lambda index: [index],
    "a number": lambda index: 5,
    "more": lambda index: {**index, "more": 1},
    "no metadata": lambda index: {"weight_map": index["weight_map"]},
    "metadata a list": lambda index: index.update(metadata=[1]),
    "metadata null": lambda index: index.update(metadata=None),
    "weight_map a list": lambda index: index.update(weight_map=["a"]),
    "weight_map null": lambda index: index.update(weight_map=None),
    "file a number": set_file(1),
    "file null": set_file(None),
    "file a list": set_file(["model-00001-of-00015.safetensors"]),
    "file above": set_file("../c/model-00001-of-00015.safetensors"),
    "file absolute": set_file("/dev/zero"),
    "file beneath": set_file("a/b"),
    "file of Windows": set_file("..\\b"),
    "file empty": set_file(""),
    "file the folder": set_file("."),
    "file with NUL": set_file("a\0b"),
    "file with newline": set_file("a\nb"),
    "no document": lambda index: index["metadata"].pop("fastinit") and None,
    **{f"document {value}": lambda index, value=value: index["metadata"].update(fastinit=value) for value in (None, [], 5, "{}")},
    **{f"dtype {name}": set_tensor("dtype", name)
       for name in ("float8_e4m3fn", "int8", "os", "load", "__class__", "", 5, None, ["float32"])},
    **{f"shape {shape}": set_tensor("shape", shape) for shape in (None, 3, [3.0, 4], [True, 4], [-3, -4], "34")},
    **{f"name {name}": set_tensor("name", name) for name in (None, 5, "model.norm.weight", ["a"])},
    **{f"tiles {tiles}": set_tensor("tiles", tiles) for tiles in (None, 5, [], [{}], [5], ["law"], {"law": "Normal"})},
    **{f"std {std}": set_tile("std", std) for std in (-1.0, True, None, "0.02", 10**40, 0)},
    **{f"law {law}": set_tile("law", law) for law in ("Cauchy", None, 5, ["Normal"], "__class__")},
    "a tile of more": set_tile("more", 1.0),
    "a tensor of more": set_tensor("more", 1.0),
    **{f"seed {seed}": set_recipe("seed", seed) for seed in (-1, 2**64, True, "7", 7.0, [7])},
    **{f"rules {rules}": set_recipe("rules", rules) for rules in (5, None, ["normal"])},
    **{f"source {name}": set_recipe("source", name) for name in (5, None, {})},
    **{f"stream version {number!r}": set_recipe("stream_version", number)
       for number in (VERSION - 1, float(VERSION), True, None, str(VERSION))},
    **{f"format {number}": set_recipe("format", number) for number in (0, 2, 1.0, True, None, "1")},
    **{f"total_size {size}": lambda index, size=size: index["metadata"].update(total_size=size)
       for size in (None, "5", 5.0, True)},
    "a key more": set_recipe("author", "me"),
    "a key less": lambda index: index["metadata"]["fastinit"].pop("seed") and None,
}  # fmt: skip


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_index_is_told_in_a_line(written, tmp_path, verified, change):
    shutil.copy(written / INDEX, tmp_path)
    change_index(tmp_path, change)
    code, err = verified(tmp_path)
    assert code == 2
    assert err.startswith(f"fastinit verify: error: {tmp_path}: expected ")
    assert all(character.isprintable() for character in err[:-1])
    assert len(err) < 600


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_recipe("stream_version", str(VERSION)), f", got '{VERSION}'"),
        (lambda index: index["metadata"].update(total_size="304"), "total_size: expected an integer, got '304'"),
        (set_recipe("seed", "7"), "seed: expected int, got '7'"),
    ],
)
def test_a_number_as_text_is_told_from_a_number(copied, verified, change, said):
    change_index(copied, change)
    assert said in verified(copied)[1]


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"\xff\xfe", b"[" * 200_000, b'{"metadata":' * 100_000, b"NaN", '"\u00e9"'.encode("utf-16"),
        b'{"metadata": {"stream_version": 0}, "weight_map": {}}',
        b'{"metadata": {}, "metadata": {}, "weight_map": {}}', b'{"metadata": {"std": Infinity}, "weight_map": {}}',
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_index_is_told_in_a_line(tmp_path, verified, text):
    (tmp_path / INDEX).write_bytes(text)
    code, err = verified(tmp_path)
    assert code == 2
    assert "expected" in err


@pytest.mark.parametrize("make", [lambda path: None, Path.touch, Path.mkdir])
def test_what_is_no_checkpoint_is_told_in_a_line(tmp_path, verified, make):
    make(tmp_path / "c")
    assert verified(tmp_path / "c")[0] == 2


@pytest.mark.parametrize("length", [0, 1, 10**9, 2**63, 2**64 - 1])
def test_a_header_of_any_length_is_read_or_named(copied, verified, length):
    name, file = next(iter(weight_map(copied).items()))
    raw = (copied / file).read_bytes()
    (copied / file).write_bytes(length.to_bytes(8, "little") + raw[8:])
    assert verified(copied)[1].startswith(f"{name}: cannot be read: {file}: ")


@pytest.mark.parametrize(
    "header",
    [b"", b"[]", b" {}", b"null", b"[" * 200_000, b'{"a":' * 100_000, b"\xff", b'{"a": 1, "a": 1}', b'{"a": NaN}',
     b'{"__metadata__": []}', b'{"a": {"dtype": "U8", "shape": [true], "data_offsets": [0, 0]}}'],
    ids=range(11),
)  # fmt: skip
def test_a_header_that_is_none_is_named(copied, verified, header):
    name, file = next(iter(weight_map(copied).items()))
    (copied / file).write_bytes(checkpoints.joined(header, b""))
    assert verified(copied)[1].startswith(f"{name}: cannot be read: {file}: ")


def test_plan_prints_the_rules_of_a_preset(capsys):
    assert cli.main(["plan", "tiny-moe", "--method", "llama"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(list(build(preset("tiny-moe")).parameters()))
    assert lines[0].split() == ["parameter", "role", "law", "shape"]


def test_plan_prints_the_rules_of_a_model(capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    assert cli.main(["plan", "planned_model:build", "--rules", "normal"]) == 0
    assert "layers.0.attention.wq.weight  attention q, k, v" in capsys.readouterr().out
    assert cli.main(["plan", "planned_model:nothing"]) == 2
    assert cli.main(["plan"]) == 2


@pytest.mark.parametrize("arguments", ["dressed", "unknown", "dressed --std 1e308"])
def test_names_of_a_model_are_shown_as_text(capsys, monkeypatch, arguments):
    """In the table, among those that no pattern matches, and where one is the matter."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    cli.main(["plan", "--rules", "normal", *f"planned_model:{arguments}".split()])
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert "\\x1b[2J\\nall is well" in said
    assert all(character.isprintable() or character == "\n" for character in said)
    assert not any(line.startswith("all is well") for line in said.splitlines())
