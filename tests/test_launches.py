"""What compiles a kernel anew, with a driver that compiles for sm_90 and launches nothing."""

import json
import os
from pathlib import Path

import torch
from forked import Forked

from fastinit.backends.triton_launch import chosen_by

HERE = Path(__file__).parent


def printed(probe, tmp_path):
    """What a probe prints, in a process that compiles."""
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    result = Forked(str(HERE / probe), environment=environment).wait()
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_no_new_seed_offset_size_or_std_recompiles(tmp_path):
    assert printed("launch_probe.py", tmp_path) == {
        "first": 1,
        "seeds": 1,
        "stds": 1,
        "sizes": 1,
        "offsets": 1,
        "odd sizes and offsets": 2,  # stores of single elements, where a run begins or ends within a vector
        "splits of skew laws": 3,  # of words on one side, on the other, and on both
        "first list": 1,
        "lists of any sizes, seeds, stds, offsets and lengths": 1,
        "lists with shorter tensors": 3,  # two smaller sizes of blocks
        "lists of another dtype": 6,
    }


def test_launches_without_the_binder_are_those_of_the_binder(tmp_path):
    counts = printed("repeat_probe.py", tmp_path)
    assert counts.pop("launches") > 200
    assert counts == {
        "by the binder": 0,
        "otherwise than by it": 0,
        "by the binder, in debug mode": 1,
        "by the binder, of an unknown Triton": 1,
    }


def test_storages_that_32_bits_address_are_told_apart():
    """As AMD's compiler does, which is not at hand."""
    small, large = (torch.empty(2**31 + more, dtype=torch.uint8, device="meta") for more in (-1, 0))
    assert chosen_by(small[:16]) == chosen_by(small) != chosen_by(large) == chosen_by(large[:16])
