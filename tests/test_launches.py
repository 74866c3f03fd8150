"""What compiles a kernel anew, with a driver that compiles for sm_90 and launches nothing."""

import json
import os
from pathlib import Path

from forked import Forked

PROBE = Path(__file__).parent / "launch_probe.py"


def test_no_new_seed_offset_size_or_std_recompiles(tmp_path):
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    result = Forked(str(PROBE), environment=environment).wait()
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {
        "first": 1,
        "seeds": 1,
        "stds": 1,
        "sizes": 1,
        "offsets": 1,
        "odd sizes and offsets": 2,  # stores of single elements, where a run begins or ends within a vector
        "splits of skew laws": 1,
        "first list": 1,
        "lists of any sizes, seeds, stds, offsets and lengths": 1,
        "lists with shorter tensors": 3,  # two smaller sizes of blocks
        "lists of another dtype": 6,
    }
