"""Run PyTorch's own tests of torch.nn.init with fastinit.init in its place.

    python tools/torch_tests.py test_init.py [NAME ...]

The file is ``test/nn/test_init.py`` of PyTorch's sources, at the tag of the torch that is installed. What follows it is unittest's.
"""

import os
import runpy
import sys

import torch

import fastinit

os.environ.setdefault("PYTORCH_TEST_WITH_SLOW", "1")
os.environ.pop("CI", None)  # where it is set, torch's tests are to write XML, by a package that is not here


def main() -> None:
    """Until the file's own ``run_tests()`` exits."""
    if len(sys.argv) < 2:
        sys.exit("torch_tests: expected the path of PyTorch's test/nn/test_init.py")
    del sys.argv[0]
    # Both names: `import torch.nn.init as init` reads the attribute, `from torch.nn.init import ...` the table of modules.
    torch.nn.init = sys.modules["torch.nn.init"] = fastinit.init
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
