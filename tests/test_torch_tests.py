"""tools/torch_tests.py, which has PyTorch's tests meet fastinit.init."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parent.parent / "tools" / "torch_tests.py"
FILE = """
import torch
import torch.nn.init as init
from torch.nn.init import normal_
from torch.testing._internal.common_utils import TestCase, run_tests, slowTest

class TestNNInit(TestCase):
    @slowTest
    def test_whose(self):
        names = {init.__name__, torch.nn.init.__name__, normal_.__module__.rpartition(".")[0]}
        self.assertEqual(names, {"fastinit.init"})

run_tests()
"""


def test_a_test_of_torch_meets_fastinit(tmp_path: Path) -> None:
    file = tmp_path / "test_init.py"
    file.write_text(FILE)
    done = subprocess.run([sys.executable, TOOL, file], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr
    assert "skipped" not in done.stderr
