"""The main job under torchrun: the same digest as one process, and no collective during the fill."""

import os
import re
import subprocess
import sys

import pytest

OPTIONS = ["init", "tiny-moe", "--method", "llama_depth", "--seed", "11"]


def run(ranks: int, *options: str) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "-m"] if ranks else ["-m"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, *launcher, "fastinit", *OPTIONS, *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def digest(output: str) -> str:
    (found,) = re.findall(r"digest: sha256 (\w{64}) over the bits of 39 tensors", output)
    return found


@pytest.fixture(scope="module")
def alone() -> str:
    return digest(run(0).stdout)


@pytest.mark.parametrize(
    ("ranks", "options"),
    [(2, []), (4, ["--tp", "2"]), (4, ["--ep", "2"]), (4, ["--tp", "2", "--ep", "2"]), (3, [])],
    ids=["FSDP2", "FSDP2 over TP", "FSDP2 over EP", "EP and TP alone", "uneven FSDP2"],
)
def test_ranks_print_the_digest_of_one_process(alone, ranks, options):
    result = run(ranks, *options)
    assert result.returncode == 0, result.stderr
    assert digest(result.stdout) == alone
    assert "collectives during the fill: 0, bytes moved: 0" in result.stdout


def test_what_cannot_be_is_said_once():
    result = run(2, "--tp", "3")
    assert result.returncode != 0
    assert result.stderr.count("--tp, --ep: expected degrees whose product divides 2 ranks, got 3 * 1") == 1
    assert "expected several ranks, got one process" in run(0, "--ep", "2").stderr
