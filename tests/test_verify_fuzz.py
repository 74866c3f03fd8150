"""Whatever is done to a checkpoint, ``verify`` ends in a code and never says "all bits" of what is not its checkpoint.

Two folders are equivalent when
- they hold the same names, each that of a regular file;
- their indexes are the same JSON value, with the same types: 7 is neither 7.0 nor true;
- file by file, the headers are the same JSON value, and the bytes behind the header are the same.
What is left to differ is how JSON is written: white space, the order of keys, escapes, the digits of a float.

The law: of a folder that is not equivalent to the one that was written, verify returns 1 or 2, says so in lines of printable
characters of which none begins with "all bits", and raises nothing. Where it returns 0, safetensors reads the same tensors.
"""

import copy
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from stat import S_ISREG

import checkpoints
import pytest
from checkpoints import INDEX, joined, split, weight_map, write
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from fastinit import __main__ as cli
from fastinit.model.skeleton import build

EXAMPLES = 1_000  # of each of the two tests
SHARD = "model-00001-of-00003.safetensors"

TEXTS = st.sampled_from(
    [INDEX, SHARD, f"./{SHARD}", f"../{SHARD}", "/dev/zero", "/dev/stdin", ".", "..", "", "a\0b", "os", "load", "__class__",
     "float16", "float32", "bfloat16", "float8_e4m3fn", "int8", "F16", "BF16", "U8", "normal", "llama", "llama_depth",
     "micro-moe", "tiny-moe", "all bits of", "\nall bits of 159", "\x1b[2J", "\ud800", "__metadata__", "7", "8", "pt",
     *(name for name, _ in build(checkpoints.MICRO).named_parameters())]
) | st.text(max_size=8)  # fmt: skip
NUMBERS = st.integers(-3, 12) | st.sampled_from(
    [2**31, 2**63, 2**64, 10**30, 0.02, 1.0, 7.0, 1e308, float("inf"), float("nan")]
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = LEAVES | st.lists(LEAVES, max_size=4) | st.dictionaries(TEXTS, LEAVES, max_size=3)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        checkpoints.with_micro(patch)
        directory = tmp_path_factory.mktemp("fuzz") / "micro"
        assert write(directory, "--shard-size", "150") == 0
        assert len(set(weight_map(directory).values())) == 3
        built = cli.parser()
        patch.setattr(cli, "parser", lambda: built)  # a third of the time of a run this small
        yield directory


def places(value, path=()):
    """The path of every value in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


@st.composite
def mutated_values(draw, original):
    """A JSON value with one to three places set to something else, taken away, exchanged or added to."""
    value = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted(places(value), key=repr)))
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        change = draw(st.sampled_from(("set", "take away", "exchange", "add")))
        inner = holder[path[-1]] if path else value
        if change == "add" and isinstance(inner, dict):
            inner[draw(TEXTS)] = draw(VALUES | st.sampled_from(sorted(inner.values(), key=repr)) if inner else VALUES)
        elif change == "add" and isinstance(inner, list):
            inner.append(draw(VALUES))
        elif not path:
            value = draw(VALUES)
        elif change == "take away":
            del holder[path[-1]]
        elif change == "exchange":
            other = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
            holder[path[-1]], holder[other] = holder[other], holder[path[-1]]
        else:
            holder[path[-1]] = draw(VALUES)
    return value


@st.composite
def mutated_bytes(draw, original):
    """Bytes with a piece cut out, put in, turned over or doubled."""
    at = draw(st.integers(0, len(original)))
    end = min(len(original), at + draw(st.integers(0, 9)))
    piece = draw(
        st.binary(max_size=9) | st.sampled_from([b"", original[at:end] * 2, b"[" * 200_000, b" ", b"NaN", b"1e999"])
    )
    return original[:at] + piece + original[end:]


def dumped(value, draw):
    """A JSON value as text, written in one of many ways."""
    indent = draw(st.sampled_from([None, 0, 1]))
    return json.dumps(value, indent=indent, sort_keys=draw(st.booleans()), ensure_ascii=draw(st.booleans())).encode(
        "utf-8", "surrogatepass"
    )


def is_json(name):
    """The index, and what lies beside; all else is safetensors."""
    return name.endswith(".json")


def same_json(one, other):
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def equivalent(directory, original):
    """Whether a folder says and holds what the original does: see above."""
    if sorted(os.listdir(directory)) != sorted(original):
        return False
    if not all(S_ISREG(os.lstat(directory / name).st_mode) for name in original):
        return False
    raw = checkpoints.read(directory)
    try:
        for name in original:
            one, other = (
                (json.loads(each), b"") if is_json(name) else split(each) for each in (raw[name], original[name])
            )
            if not same_json(one[0], other[0]) or one[1] != other[1]:
                return False
    except (ValueError, RecursionError):
        return False
    return True


def check(directory, name, raw, original, tensors):
    """The law, with the file of this name replaced by these bytes."""
    (directory / name).write_bytes(raw)
    try:
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
            code = cli.main(["verify", str(directory)])
        said = out.getvalue() + err.getvalue()
        assert code in (0, 1, 2)
        assert said.replace("\n", "").isprintable()
        assert any(line.startswith("all bits") for line in said.splitlines()) == (code == 0)
        assert code != 0 or equivalent(directory, original)
        assert code == 0 or raw != original[name]
        if code == 0:
            assert tensors_of(directory) == tensors
    finally:
        (directory / name).write_bytes(original[name])


def tensors_of(directory):
    """What safetensors reads: of each tensor its dtype, shape, bits and the metadata beside it."""
    found = {}
    for name, file in weight_map(directory).items():
        with safe_open(directory / file, framework="pt") as opened:
            tensor = opened.get_tensor(name)
            found[name] = (tensor.dtype, tuple(tensor.shape), tensor.view(-1).tolist(), opened.metadata())
    return found


@pytest.fixture(scope="module")
def tensors(written):
    return tensors_of(written)


@pytest.fixture(scope="module")
def original(written):
    return checkpoints.read(written)


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_an_index_that_was_changed(written, original, tensors, data):
    if data.draw(st.booleans()):
        raw = data.draw(mutated_bytes(original[INDEX]))
    else:
        raw = dumped(data.draw(mutated_values(json.loads(original[INDEX]))), data.draw)
    check(written, INDEX, raw, original, tensors)


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_a_file_that_was_changed(written, original, tensors, data):
    name = data.draw(st.sampled_from(sorted(name for name in original if not is_json(name))))
    header, values = split(original[name])
    kind = data.draw(st.sampled_from(("header", "bytes", "header and data", "length")))
    if kind == "bytes":
        raw = data.draw(mutated_bytes(original[name]))
    elif kind == "length":
        length = data.draw(st.integers(0, 2**64 - 1) | st.integers(0, len(original[name]) + 9))
        raw = length.to_bytes(8, "little") + original[name][8:]
    else:
        values = values if kind == "header" else data.draw(mutated_bytes(values))
        raw = joined(dumped(data.draw(mutated_values(header)), data.draw) + b" " * data.draw(st.integers(0, 9)), values)
    check(written, name, raw, original, tensors)


@pytest.mark.parametrize("indent", [None, 0, 7])
@pytest.mark.parametrize("sort_keys", [False, True])
def test_how_json_is_written_does_not_matter(written, original, indent, sort_keys, tmp_path):
    for name, raw in original.items():
        if is_json(name) and name != INDEX:  # which is what its bytes are
            (tmp_path / name).write_bytes(raw)
            continue
        value, data = (json.loads(raw), b"") if name == INDEX else split(raw)
        text = json.dumps(value, indent=indent, sort_keys=sort_keys).replace("total_size", "tot\\u0061l_size").encode()
        (tmp_path / name).write_bytes(text if name == INDEX else joined(text + b"  ", data))
    assert equivalent(tmp_path, original)
    assert cli.main(["verify", str(tmp_path)]) == 0
