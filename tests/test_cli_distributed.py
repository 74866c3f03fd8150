"""The main job under torchrun: the same digest as one process, and no collective during the fill."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence

import pytest
from forked import Forked

OPTIONS = ["init", "tiny-moe", "--method", "llama_depth", "--seed", "11"]


def under_torchrun(ranks: int, *options: str) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "-m"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, *launcher, "fastinit", *OPTIONS, *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def environments(ranks: int) -> list[dict[str, str]]:
    """What torchrun gives its ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = os.environ | {
        "OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "none",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks),
    }  # fmt: skip
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def forked(ranks: int, *options: str, command: Sequence[str] = OPTIONS) -> list[subprocess.CompletedProcess[str]]:
    """The command on each rank; one process by itself for none."""
    each = environments(ranks) if ranks else [os.environ | {"OMP_NUM_THREADS": "1"}]
    started = [Forked("-m", "fastinit", *command, *options, environment=environment) for environment in each]
    return [process.wait() for process in started]


def digest(output: str) -> str:
    (found,) = re.findall(r"digest: sha256 (\w{64}) over the bits of 36 tensors", output)
    return found


@pytest.fixture(scope="module")
def alone() -> str:
    [result] = forked(0)
    return digest(result.stdout)


def assert_filled_as(alone: str, printed: str) -> None:
    assert digest(printed) == alone
    assert "collectives during the fill: 0, bytes moved: 0" in printed


def test_ranks_print_the_digest_of_one_process(alone):
    result = under_torchrun(2)
    assert result.returncode == 0, result.stderr
    assert_filled_as(alone, result.stdout)


@pytest.mark.parametrize(
    ("ranks", "options"),
    [(4, ["--tp", "2"]), (4, ["--ep", "2"]), (4, ["--tp", "2", "--ep", "2"]), (3, [])],
    ids=["FSDP2 over TP", "FSDP2 over EP", "EP and TP alone", "uneven FSDP2"],
)
def test_ranks_of_any_layout_print_that_digest(alone, ranks, options):
    first, *others = results = forked(ranks, *options)
    assert [result.returncode for result in results] == [0] * ranks, [result.stderr for result in results]
    assert_filled_as(alone, first.stdout)
    assert [result.stdout for result in others] == [""] * (ranks - 1)


def test_a_config_s_own_laws_are_filled_alike_by_ranks(tmp_path):
    """A padding row, fused experts, values that are computed, and what no name tells how to split."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    others = {
        "num_key_value_heads": 1,
        "num_experts": 4,
        "vocab_size": 40,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
    }
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "jamba", **sizes, **others}), "utf-8")
    command = ["init", str(tmp_path), "--seed", "3"]
    found = [forked(ranks, *options, command=command)[0] for ranks, options in ((0, ()), (2, ("--tp", "2")))]
    alone, together = [re.findall(r"digest: sha256 (\w{64})", each.stdout) for each in found]
    assert alone == together, [each.stderr for each in found]
    assert len(alone) == 1
    assert "\nderived " in found[1].stdout


def test_what_cannot_be_is_said_once():
    result = under_torchrun(2, "--tp", "3")
    assert result.returncode != 0
    assert result.stderr.count("--tp, --ep: expected degrees whose product divides 2 ranks, got 3 * 1") == 1
    [result] = forked(0, "--ep", "2")
    assert result.returncode == 2
    assert "expected several ranks, got one process" in result.stderr


# What the interpreter does at its end stands for gloo's threads, which abort there in some runs of a hundred: here always.
ABORT_AT_EXIT = """
import atexit, os
if "LOCAL_RANK" in os.environ:
    atexit.register(os._exit, 134)
"""
FAIL_ON_ONE = """
import os
if os.environ.get("RANK") == "1":
    from fastinit.cli import distributed
    def roles_table(*_, **__):
        raise RuntimeError("one rank alone")
    distributed.roles_table = roles_table
"""


WITHOUT_GPU = """
import os
os.environ["CUDA_VISIBLE_DEVICES"] = ""
"""


def codes_of_ranks(folder, customised: str, *options: str) -> tuple[list[int], list[str]]:
    """The exit codes and the errors of two ranks, started as torchrun starts them."""
    (folder / "sitecustomize.py").write_text(customised)
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "fastinit", *OPTIONS, *options],
            env=environment | {"PYTHONPATH": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for environment in environments(2)
    ]
    errors = [rank.communicate(timeout=120)[1] for rank in ranks]
    return [rank.returncode for rank in ranks], errors


def test_a_rank_ends_with_its_code_whatever_the_interpreter_would_do(tmp_path):
    codes, errors = codes_of_ranks(tmp_path, ABORT_AT_EXIT, "--no-digest")
    assert codes == [0, 0], errors


def test_a_request_that_cannot_be_met_ends_every_rank_with_2(tmp_path):
    codes, errors = codes_of_ranks(tmp_path, ABORT_AT_EXIT, "--layers", "9")
    assert codes == [2, 2], errors
    assert sum("--layers: expected at most the 3 of tiny-moe, got 9" in error for error in errors) == 1
    assert "Traceback" not in "".join(errors)


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("mps", "--device: expected cpu or cuda under torchrun, which gives each rank a GPU, got 'mps'"),
        ("cuda", "--device: 'cuda' cannot be used: "),
    ],
)
def test_a_device_that_is_not_there_is_told_by_one_rank(tmp_path, device, said):
    codes, errors = codes_of_ranks(tmp_path, WITHOUT_GPU, "--device", device)
    assert codes == [2, 2], errors
    assert sum(said in error for error in errors) == 1
    assert "Traceback" not in "".join(errors)


def test_a_rank_that_fails_alone_ends_with_1(tmp_path):
    codes, errors = codes_of_ranks(tmp_path, ABORT_AT_EXIT + FAIL_ON_ONE)
    assert codes == [1, 1], errors  # the other one has lost its peer
    assert "RuntimeError: one rank alone" in errors[1]
