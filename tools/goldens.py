"""Write tests/data/goldens.json: the SHA-256 of the raw bytes of each public fill, dtype, layout and regime.

    python tools/goldens.py            # refuses to change a value unless STREAM_VERSION has grown
    python tools/goldens.py --check    # exit 1 if a value differs from the file

Values change only with a new STREAM_VERSION, a changelog entry and new goldens, in one commit.
"""

import argparse
import hashlib
import inspect
import json
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import fastinit
from fastinit import Key, LocalShard, init

FILE = Path(__file__).parents[1] / "tests" / "data" / "goldens.json"
KEY = Key(2**64 - 59, 2**63 + 29)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}
# One or more of each regime of the quantile function, under the fill's own arguments.
LAWS: dict[str, dict[str, tuple[float, ...]]] = {
    "trunc_normal_": {
        "constant": (3.0, 0.0, -1.0, 1.0),
        "default": (0.0, 1.0, -2.0, 2.0),
        "3 sigma": (0.0, 0.02, -0.06, 0.06),
        "off-centre": (0.5, 1.0, -1.0, 2.5),
        "4 sigma": (0.0, 0.02, -0.08, 0.08),
        "100 sigma": (0.0, 0.02, -2.0, 2.0),
        "lopsided": (0.0, 1.0, -5.0, 2.0),
        "half-normal": (0.0, 1.0, 0.0, math.inf),
        "flank": (0.0, 1.0, 1.0, math.inf),
        "both flanks": (0.0, 1.0, -0.4, 0.45),
        "two to three": (0.0, 1.0, 2.0, 3.0),
        "right tail": (0.0, 1.0, 6.0, 8.0),
        "left tail": (0.0, 1.0, -math.inf, -5.0),
        "narrow": (0.0, 1.0, 0.5, 0.75),
    },
    "normal_": {"constant": (1.5, 0.0), "standard": (0.0, 1.0), "0.02": (0.0, 0.02)},
    "uniform_": {"constant": (0.25, 0.25), "unit": (0.0, 1.0), "symmetric": (-0.1, 0.1)},
}
# The other fills of fastinit.init, which are of weights.
SCHEMES: dict[str, dict[str, dict[str, Any]]] = {
    "kaiming_uniform_": {"default": {}},
    "kaiming_normal_": {"relu, by outputs": {"mode": "fan_out", "nonlinearity": "relu"}},
    "xavier_uniform_": {"tanh": {"gain": 5 / 3}},
    "xavier_normal_": {"default": {}},
    "lecun_normal_": {"default": {}},
    "variance_scaling_": {"uniform": {"scale": 2.0, "mode": "fan_geo_avg", "distribution": "uniform"}},
    "trunc_normal_tf_": {"3 sigma": {"std": 0.02, "a": -3.0, "b": 3.0}},
    "orthogonal_": {"default": {}},
    "sparse_": {"a third": {"sparsity": 1 / 3}},
    "constant_": {"0.3": {"val": 0.3}},
    "ones_": {"default": {}},
    "zeros_": {"default": {}},
    "eye_": {"default": {}},
    "dirac_": {"default": {}},
}
# Shapes are small, odd, and past 2**34 elements.
LAYOUTS: dict[str, Callable[[torch.dtype], tuple[Tensor, LocalShard | None]]] = {
    "flat": lambda dtype: (torch.empty(1021, dtype=dtype), None),
    "bank": lambda dtype: (torch.empty(3, 7, 20, dtype=dtype), None),
    "transposed": lambda dtype: (torch.empty(3, 20, 7, dtype=dtype).mT, None),
    "rows": lambda dtype: (torch.empty(5, 64, dtype=dtype), LocalShard((2**20, 2**15), (2**19 + 1, 2**14))),
    "box": lambda dtype: (torch.empty(2, 5, 13, dtype=dtype), LocalShard((9, 11, 31), (4, 3, 7))),
}

# Of those that are made as a whole none is large.
WEIGHTS: dict[str, Callable[[torch.dtype], tuple[Tensor, LocalShard | None]]] = {
    "matrix": lambda dtype: (torch.empty(19, 23, dtype=dtype), None),
    "transposed": lambda dtype: (torch.empty(23, 19, dtype=dtype).T, None),
    "rows": lambda dtype: (torch.empty(5, 64, dtype=dtype), LocalShard((41, 150), (17, 50))),
    "bank": LAYOUTS["bank"],
    "box": LAYOUTS["box"],
}
MATRICES, BANKS = ("matrix", "transposed", "rows"), ("bank", "box")
ONLY = {"sparse_": MATRICES, "eye_": MATRICES, "dirac_": BANKS}


def digest(fill: str, law: str, dtype: str, layout: str) -> str:
    """SHA-256 of one fill's bytes."""
    if fill in SCHEMES:
        return sha256(_weight(fill, SCHEMES[fill][law], *WEIGHTS[layout](DTYPES[dtype])))
    tensor, shard = LAYOUTS[layout](DTYPES[dtype])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="mean is more than 2 std")  # far tails are meant
        getattr(fastinit, fill)(tensor, *LAWS[fill][law], key=KEY, shard=shard)
    return sha256(tensor)


def _weight(fill: str, arguments: dict[str, Any], tensor: Tensor, shard: LocalShard | None) -> Tensor:
    """A weight, filled by a call that takes what it takes."""
    function = getattr(init, fill)
    where = {"key": KEY, "shard": shard} | ({"layout": "e o i"} if tensor.ndim == 3 else {})
    taken = inspect.signature(function).parameters
    filled: Tensor = function(tensor, **arguments, **{name: given for name, given in where.items() if name in taken})
    return filled


def sha256(tensor: Tensor) -> str:
    """Of the tensor's bytes, in row-major order."""
    return hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def cases() -> list[tuple[str, str, str, str]]:
    """Every (fill, law, dtype, layout)."""
    of_laws = [
        (f, law, dtype, layout) for f, laws in LAWS.items() for law in laws for dtype in DTYPES for layout in LAYOUTS
    ]
    of_weights = [
        (f, law, dtype, layout)
        for f, laws in SCHEMES.items()
        for law in laws
        for dtype in DTYPES
        for layout in ONLY.get(f, tuple(WEIGHTS))
    ]
    return of_laws + of_weights


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    arguments = parser.parse_args()
    old = json.loads(FILE.read_text()) if FILE.exists() else {"stream_version": 0, "sha256": {}}
    new = {" | ".join(case): digest(*case) for case in cases()}
    changed = [name for name, value in old["sha256"].items() if new.get(name) != value]
    if arguments.check:
        print("\n".join(changed) or "the goldens hold")
        return 1 if changed or len(new) != len(old["sha256"]) else 0
    if changed and old["stream_version"] >= fastinit.STREAM_VERSION:
        print(
            f"refused: {len(changed)} values differ, among them {changed[0]}, and STREAM_VERSION is still "
            f"{fastinit.STREAM_VERSION}; a new stream needs a new version and a changelog entry",
            file=sys.stderr,
        )
        return 1
    FILE.write_text(json.dumps({"stream_version": fastinit.STREAM_VERSION, "sha256": new}, indent=0) + "\n")
    print(f"wrote {len(new)} goldens of stream version {fastinit.STREAM_VERSION}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
