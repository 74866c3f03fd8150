"""``fastinit verify`` of all three forms: what is right is proved, what is not is named, and nothing that a folder holds is run."""

import json
import os
import pickle
import shutil
import warnings

import pytest
import torch
from forked import Forked
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_cli_distributed import environments
from torch.distributed.checkpoint.filesystem import FileSystemReader

from fastinit import __main__ as cli
from fastinit.checkpoint.files import JSON_LIMIT
from fastinit.checkpoint.parts import Parts, Sample
from fastinit.checkpoint.reading_dcp import METADATA, Distributed
from fastinit.shard.geometry import LocalShard

FORMS = ("hf", "dcp", "olmo")
EXAMPLES = 300
PLACE = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """tiny-moe in each form, by the form's name."""
    folder = tmp_path_factory.mktemp("forms")
    for form in FORMS:
        assert cli.main(["init", "tiny-moe", "--seed", "7", "--format", form, "--out", str(folder / form)]) == 0
    return folder


@pytest.fixture
def verified(capsys):
    """(exit code, output) of verify, with nothing on stderr but one line where it is 2."""

    def verify(directory, *options):
        capsys.readouterr()
        code = cli.main(["verify", str(directory), *options])
        captured = capsys.readouterr()
        assert captured.err.count("\n") == (1 if code == 2 else 0)
        return code, captured.out or captured.err

    return verify


def data_of(directory):
    """The file of a folder that has the tensors, which are one file here."""
    [path] = [path for path in directory.iterdir() if path.suffix in (".safetensors", ".distcp")]
    return path


def place_of(directory, form, name):
    """The file and the byte of it at which a tensor's elements begin."""
    path = data_of(directory)
    raw = path.read_bytes()
    if form == "hf":
        length = int.from_bytes(raw[:8], "little")
        return path, 8 + length + json.loads(raw[8 : 8 + length])[name]["data_offsets"][0]
    found = Distributed.of(directory, "model." if form == "olmo" else "")
    item = found.stored[name].items[0]
    value = torch.empty(found.shape(name), dtype=found.dtype(name))
    found.read_(name, value, LocalShard.whole(found.shape(name)))
    return path, raw.index(value.view(torch.uint8).numpy().tobytes(), item.offset, item.offset + item.length)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_proves_itself(written, verified, form):
    given = "tiny-moe, rules own, seed 7"
    count = 75 if form == "hf" else 36
    assert verified(written / form) == (0, f"all bits of 62,328 elements in {count} tensors are those of {given}\n")


@pytest.mark.parametrize("form", ["dcp", "olmo"])
def test_a_file_that_is_gone_is_told_once(written, verified, form, tmp_path):
    copy = shutil.copytree(written / form, tmp_path / "c")
    (copy / "__0_0.distcp").unlink()
    code, out = verified(copy)
    assert code == 1
    first, last = out.splitlines()
    assert first == "__0_0.distcp: is missing, and 36 tensors of the checkpoint with it"
    assert last.startswith("1 problem: this is not the checkpoint of tiny-moe")


@pytest.mark.parametrize("form", FORMS)
def test_a_flipped_bit_is_found(written, verified, form, tmp_path):
    copy = shutil.copytree(written / form, tmp_path / "c")
    path, begin = place_of(copy, form, PLACE)
    raw = bytearray(path.read_bytes())
    raw[begin + 2 * 33] ^= 1
    path.write_bytes(raw)
    code, out = verified(copy)
    assert code == 1
    assert out.splitlines()[0] == f"{PLACE}: 1 elements differ, the first at index 33"
    assert out.splitlines()[1].startswith("1 problem: this is not the checkpoint of tiny-moe")
    code, out = verified(copy, "--against", "tiny-moe", "--seed", "7")
    assert code == 1
    assert out.splitlines()[0] == f"{PLACE}: 1 of 1,600 elements differ, the first at index 33"
    assert out.splitlines()[-1].startswith(f"1 of {75 if form == 'hf' else 36} tensors are not at the init of tiny-moe")


@pytest.mark.parametrize("form", FORMS)
def test_what_does_not_belong_there_is_named(written, verified, form, tmp_path):
    copy = shutil.copytree(written / form, tmp_path / "c")
    (copy / "all bits of").write_bytes(b"")
    code, out = verified(copy)
    assert code == 1
    assert out.startswith("'all bits of': is in the folder, and ")


@pytest.mark.parametrize("form", ["dcp", "olmo"])
def test_another_recipe_is_named(written, verified, form, tmp_path):
    copy = shutil.copytree(written / form, tmp_path / "c")
    document = json.loads((copy / "fastinit.json").read_text())
    document["tensors"] = document["tensors"][1:]
    document["tensors"][0]["dtype"] = "float32"
    (copy / "fastinit.json").write_text(json.dumps(document))
    code, out = verified(copy)
    assert code == 1
    assert "is not a tensor of the model\n" in out
    assert ", expected torch.float32 of " in out
    (copy / "fastinit.json").write_text("{}")
    assert verified(copy)[0] == 2


@pytest.mark.parametrize("form", FORMS)
def test_a_sample_says_so(written, verified, form):
    code, out = verified(written / form, "--sample", "2", "--sample-seed", "9")
    assert code == 0
    assert out.startswith("sampled, 2 random parts of each tensor (seed 9): the bits of ")
    code, out = verified(written / form, "--sample", "2", "--against", "tiny-moe", "--seed", "8")
    assert code == 1
    assert out.splitlines()[-1].startswith("sampled, 2 random parts of each tensor (seed ")


def test_a_sample_reads_what_it_chose(written, verified, tmp_path, monkeypatch):
    """And nothing else: a bit is found by the samples that its part is in."""
    monkeypatch.setattr("fastinit.checkpoint.compared._SAMPLED", 2 * 100)
    copy = shutil.copytree(written / "hf", tmp_path / "c")
    path, begin = place_of(copy, "hf", PLACE)
    raw = bytearray(path.read_bytes())
    raw[begin + 2 * 1000] ^= 1
    path.write_bytes(raw)
    for seed in range(8):
        chosen = Sample(3, seed).of(PLACE, (40, 40), 100)
        [row] = [
            k
            for k, (place, shape) in enumerate(Parts((40, 40), 100))
            if place.global_offset[0] <= 25 < place.global_offset[0] + shape[0]
        ]
        hit = Parts((40, 40), 100)[row] in list(chosen)
        assert verified(copy, "--sample", "3", "--sample-seed", str(seed))[0] == int(hit)


def test_options_that_say_nothing_are_refused(written, verified):
    assert verified(written / "hf", "--seed", "7")[0] == 2
    assert verified(written / "hf", "--sample-seed", "7")[0] == 2


def test_a_file_alone_proves_itself(written, verified, tmp_path):
    shutil.copy(data_of(written / "hf"), tmp_path / "one.safetensors")
    code, out = verified(tmp_path)
    assert code == 0
    assert out.startswith("there is no index: ")
    path = tmp_path / "one.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert verified(tmp_path)[0] == 1
    shutil.copy(path, tmp_path / "two.safetensors")
    assert verified(tmp_path)[0] == 2


@pytest.fixture(scope="module")
def somebody_s(written, tmp_path_factory):
    """The same tensors as others write them: a file, files with an index of their own, and torch's save."""
    folder = tmp_path_factory.mktemp("others")
    tensors = load_file(data_of(written / "hf"))
    for name in ("file", "files", "indexed", "torch"):
        (folder / name).mkdir()
    save_file(tensors, folder / "file" / "model.safetensors", metadata={"format": "pt"})
    names = sorted(tensors)
    for k in range(2):
        part = {name: tensors[name] for name in names[k::2]}
        for into in ("files", "indexed"):
            save_file(part, folder / into / f"part-{k}.safetensors")
    index = {
        "weight_map": {name: f"part-{k}.safetensors" for k in range(2) for name in names[k::2]},
        "metadata": {"total_parameters": 1},
    }
    (folder / "indexed" / "model.safetensors.index.json").write_text(json.dumps(index))
    found = Distributed.of(written / "dcp")
    live = {}
    for name in found:
        live[name] = torch.empty(found.shape(name), dtype=found.dtype(name))
        found.read_(name, live[name], LocalShard.whole(found.shape(name)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.distributed.checkpoint.save({"model": live, "step": 5}, checkpoint_id=folder / "torch")
    return folder


@pytest.mark.parametrize("kind", ["file", "files", "indexed", "torch"])
def test_somebody_s_checkpoint_against_a_source(somebody_s, verified, kind):
    code, out = verified(somebody_s / kind, "--against", "tiny-moe", "--seed", "7")
    assert (code, out.splitlines()[-1]) == (
        0,
        f"{36 if kind == 'torch' else 75} tensors are at their init, bit for bit: tiny-moe, rules own, seed 7",
    )
    code, out = verified(somebody_s / kind, "--against", "tiny-moe", "--seed", "8")
    assert code == 1  # but for the norms
    assert out.splitlines()[-1].startswith(f"{36 - 13 if kind == 'torch' else 75 - 13} of ")
    code, out = verified(somebody_s / kind, "--against", "tiny-moe", "--seed", "7", "--layers", "2")
    assert code == 1
    assert "is no tensor of the source\n" in out
    assert verified(somebody_s / kind)[0] == 2  # it does not say what it holds


def test_a_step_of_training_is_told_by_role(somebody_s, verified, tmp_path):
    copy = shutil.copytree(somebody_s / "file", tmp_path / "c")
    tensors = load_file(copy / "model.safetensors")
    for name, tensor in tensors.items():
        if "q_proj" in name:
            tensor[0, :5] = 1.0
    del tensors["lm_head.weight"]
    save_file(tensors, copy / "model.safetensors")
    code, out = verified(copy, "--against", "tiny-moe", "--seed", "7")
    assert code == 1
    rows = {
        line.rsplit(maxsplit=5)[0]: line.split()[-5:]
        for line in out.splitlines()
        if line.startswith(("attention", "final"))
    }
    assert rows["attention q, k, v"] == ["9", "6", "3", "6,720", "15"]
    assert rows["final output"] == ["1", "0", "1", "0", "0"]
    assert "lm_head.weight: is missing\n" in out


def test_transformers_own_save_and_what_is_derived(verified, tmp_path):
    """What no law describes is recorded again from the config in the folder, and is proved with the rest."""
    import transformers

    config = transformers.AutoConfig.for_model(
        "mamba", vocab_size=50, hidden_size=16, num_hidden_layers=1, state_size=4, intermediate_size=32
    )
    config.architectures = ["MambaForCausalLM"]
    config.save_pretrained(tmp_path / "config")
    source = str(tmp_path / "config")
    assert cli.main(["init", source, "--seed", "3", "--out", str(tmp_path / "c")]) == 0
    tensors = json.loads((tmp_path / "c" / "model.safetensors.index.json").read_text())["metadata"]["fastinit"][
        "tensors"
    ]
    assert any("derived" in tensor for tensor in tensors)
    assert verified(tmp_path / "c")[0] == 0
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "c")
    model.save_pretrained(tmp_path / "again")
    assert verified(tmp_path / "again", "--against", source, "--seed", "3")[0] == 0
    assert verified(tmp_path / "again", "--against", source, "--seed", "4")[0] == 1


@pytest.mark.parametrize("form", ["hf", "dcp"])
def test_what_is_derived_is_not_called_wrong(verified, tmp_path, monkeypatch, capsys, form):
    """No law describes it, and the folder has nothing to record it from: that is not proved, and is no other checkpoint."""
    (tmp_path / "derived_source.py").write_text(
        "from torch import nn\ndef model():\n    found = nn.Linear(3, 3)\n    nn.init.orthogonal_(found.weight)\n    return found\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cli.main(["init", "derived_source:model", "--seed", "3", "--out", "c", "--format", form]) == 0
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("prove it at any time: fastinit verify ")
    assert command == "c --against derived_source:model --seed 3"
    assert verified(*command.split())[0] == 0
    code, out = verified("c")
    assert code == 1
    assert out.splitlines()[1].startswith("1 of 2 tensors are not proved; nothing else is wrong with the checkpoint of")
    (tmp_path / "c" / "stranger").touch()
    assert "this is not the checkpoint of" in verified("c")[1].splitlines()[2]


class _Run:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (self._path,)


HOSTILE = {
    "a command": lambda path: pickle.dumps(_Run(path)),
    "a global alone": lambda path: b"cos\nsystem\n.",
    "one of torch's": lambda path: b"ctorch\nload\n(S'" + path.encode() + b"'\ntR.",
    "an attribute of a module": lambda path: b"ctorch.distributed.checkpoint.metadata\nos\n.",
    "a method by a dotted name": lambda path: b"\x80\x04\x8c\x05torch\x8c\x0cSize.__new__\x93.",
    "builtins": lambda path: b"cbuiltins\neval\n(S'1'\ntR.",
    "memory": lambda path: b"\x80\x04Nr\xff\xff\xff\x7f.",
    "a long text": lambda path: b"\x80\x04\x8d" + b"\xff" * 8 + b"a.",
    "nested": lambda path: b"(" * 100_000 + b".",
    "another value": lambda path: pickle.dumps({"a": 1}),
    "nothing": lambda path: b"",
    "text": lambda path: b"all bits of\n",
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_metadata_run_no_code(written, verified, tmp_path, make):
    copy = shutil.copytree(written / "dcp", tmp_path / "c")
    (copy / METADATA).write_bytes(make(str(tmp_path / "taken")))
    for options in ((), ("--against", "tiny-moe")):
        code, said = verified(copy, *options)
        assert code == 2
        assert said.startswith(f"fastinit verify: error: {copy}: expected a checkpoint: .metadata: ")
        assert said[:-1].isprintable()
    assert not (tmp_path / "taken").exists()


def test_items_run_no_code(written, verified, tmp_path):
    copy = shutil.copytree(written / "dcp", tmp_path / "c")
    metadata = FileSystemReader(copy).read_metadata()
    torch.save(_Run(str(tmp_path / "taken")), tmp_path / "item")
    raw = (tmp_path / "item").read_bytes()
    (copy / "__1_0.distcp").write_bytes(raw)
    for index, info in metadata.storage_data.items():
        if index.fqn == PLACE:
            info.relative_path, info.offset, info.length = "__1_0.distcp", 0, len(raw)
    (copy / METADATA).write_bytes(pickle.dumps(metadata))
    code, out = verified(copy)
    assert code == 1
    assert out.startswith(f"{PLACE}: cannot be read: __1_0.distcp: no tensor that torch loads: ")
    assert not (tmp_path / "taken").exists()


def test_metadata_are_not_read_without_end(written, verified, tmp_path):
    copy = shutil.copytree(written / "dcp", tmp_path / "c")
    os.truncate(copy / METADATA, JSON_LIMIT + 1)  # a hole
    assert verified(copy)[0] == 2
    (copy / METADATA).unlink()
    os.mkfifo(copy / METADATA)
    assert verified(copy)[0] == 2


CHANGES = {
    "another file": lambda info: setattr(info, "relative_path", "../dcp/__0_0.distcp"),
    "an absolute file": lambda info: setattr(info, "relative_path", "/dev/zero"),
    "no file's name": lambda info: setattr(info, "relative_path", 5),
    "a later place": lambda info: setattr(info, "offset", info.offset + 1),
    "a place before": lambda info: setattr(info, "offset", -1),
    "no place": lambda info: setattr(info, "offset", None),
    "much": lambda info: setattr(info, "length", 2**62),
    "little": lambda info: setattr(info, "length", 10),
    "transformed": lambda info: setattr(info, "transform_descriptors", ("zstd",)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_places_that_are_none_are_named(written, verified, tmp_path, change):
    copy = shutil.copytree(written / "dcp", tmp_path / "c")
    metadata = FileSystemReader(copy).read_metadata()
    for index, info in metadata.storage_data.items():
        if index.fqn == PLACE:
            change(info)
    (copy / METADATA).write_bytes(pickle.dumps(metadata))
    code, out = verified(copy)
    assert code == 1
    assert f"{PLACE}: " in out


@pytest.mark.parametrize(
    "chunks", [[(0, 40), (20, 20)], [(0, 20)], [(0, 20), (10, 20)], [(0, 20), (30, 20)], [(0, 2**62)], []], ids=range(6)
)
def test_items_are_all_of_a_tensor_once(written, verified, tmp_path, chunks):
    copy = shutil.copytree(written / "dcp", tmp_path / "c")
    metadata = FileSystemReader(copy).read_metadata()
    kept = metadata.state_dict_metadata[PLACE].chunks[0]
    [info] = [info for index, info in metadata.storage_data.items() if index.fqn == PLACE]
    made = []
    for begin, rows in chunks:
        made.append(type(kept)(torch.Size((begin, 0)), torch.Size((rows, 40))))
        metadata.storage_data[type(next(iter(metadata.storage_data)))(PLACE, torch.Size((begin, 0)))] = info
    metadata.state_dict_metadata[PLACE].chunks = made
    (copy / METADATA).write_bytes(pickle.dumps(metadata))
    code, out = verified(copy)
    assert code == 1
    assert f"{PLACE}: " in out


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_whatever_is_done_to_a_folder_of_torch(written, data):
    """It ends in a code and a verdict, and what is said to be right has the bits that torch's own reader loads."""
    folder = written / "dcp"
    path = folder / data.draw(st.sampled_from((METADATA, "__0_0.distcp")))
    original = path.read_bytes()
    begin = data.draw(st.integers(0, len(original)))
    end = min(len(original), begin + data.draw(st.integers(0, 9)))
    piece = data.draw(
        st.binary(max_size=9) | st.sampled_from([original[begin:end] * 2, bytes([original[begin - 1] ^ 1])])
    )
    path.write_bytes(original[:begin] + piece + original[end:])
    try:
        code = cli.main(["verify", str(folder)])
        assert code in (0, 1, 2)
        if code == 0:
            assert_loads_as(folder, written / "olmo")
    finally:
        path.write_bytes(original)


def assert_loads_as(folder, other):
    """Torch's own loader reads the tensors of the other folder, bit for bit."""
    stored = Distributed.of(other, "model.")
    loaded = {name: torch.empty(stored.shape(name), dtype=stored.dtype(name)) for name in stored}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.distributed.checkpoint.load(loaded, checkpoint_id=folder)
    for name, tensor in loaded.items():
        expected = torch.empty_like(tensor)
        stored.read_(name, expected, LocalShard.whole(stored.shape(name)))
        assert tensor.view(torch.int16).equal(expected.view(torch.int16))


@pytest.mark.parametrize("form", ["hf", "dcp"])
def test_ranks_share_the_tensors(written, form, tmp_path):
    copy = shutil.copytree(written / form, tmp_path / "c")

    def run(*options):
        started = [
            Forked("-m", "fastinit", "verify", str(copy), *options, environment=each) for each in environments(3)
        ]
        return [process.wait() for process in started]

    first, *others = run()
    assert (first.returncode, first.stdout) == (
        0,
        f"all bits of 62,328 elements in {75 if form == 'hf' else 36} tensors are those of tiny-moe, rules own, seed 7\n",
    ), first.stderr
    assert [(other.returncode, other.stdout) for other in others] == [(0, "")] * 2
    first, *_ = run("--against", "tiny-moe", "--seed", "8")
    assert first.returncode == 1
    assert "tensors are not at the init of tiny-moe" in first.stdout
    (copy / "stranger").write_bytes(b"")
    first, *_ = run()
    assert (first.returncode, first.stdout.count("\n")) == (1, 2)
