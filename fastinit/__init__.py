"""fastinit: the weights of a huge model from (seed, parameter name, global index) alone: the same bits on any device,
mesh, pipeline split and order, in one pass, without a temporary and without communication.

>>> import torch, fastinit
>>> w = torch.empty(8, 64, 32, dtype=torch.bfloat16)
>>> w = fastinit.trunc_normal_(w, std=0.02, a=-0.06, b=0.06, key=fastinit.Key.of("blocks.0.experts.w1", seed=0))
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key
from fastinit.version import STREAM_VERSION, __version__

# What needs torch is imported when it is first asked for: the command line is there at once, and hears Ctrl-C while torch is
# imported. A type checker reads the first list, Python the second.
if TYPE_CHECKING:
    from fastinit import init
    from fastinit.backends import reference
    from fastinit.foreach import foreach_fill_
    from fastinit.init import normal_, trunc_normal_, uniform_
    from fastinit.model.fill import init_model_
    from fastinit.model.methods import InitMethod, init_linear
    from fastinit.model.verify import verify_model_
    from fastinit.recipe.keyed import build, keyed
    from fastinit.recipe.recipe import Recipe
    from fastinit.recipe.record import record
    from fastinit.shard.sync import check_in_sync

_LAZY = {
    "InitMethod": "fastinit.model.methods",
    "Recipe": "fastinit.recipe.recipe",
    "build": "fastinit.recipe.keyed",
    "check_in_sync": "fastinit.shard.sync",
    "foreach_fill_": "fastinit.foreach",
    "init": "fastinit.init",
    "init_linear": "fastinit.model.methods",
    "init_model_": "fastinit.model.fill",
    "keyed": "fastinit.recipe.keyed",
    "normal_": "fastinit.init",
    "record": "fastinit.recipe.record",
    "reference": "fastinit.backends.reference",
    "trunc_normal_": "fastinit.init",
    "uniform_": "fastinit.init",
    "verify_model_": "fastinit.model.verify",
}

__all__ = [
    "STREAM_VERSION",
    "InitMethod",
    "Key",
    "LocalShard",
    "Recipe",
    "__version__",
    "build",
    "check_in_sync",
    "foreach_fill_",
    "init",
    "init_linear",
    "init_model_",
    "keyed",
    "normal_",
    "record",
    "reference",
    "trunc_normal_",
    "uniform_",
    "verify_model_",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fastinit' has no attribute {name!r}")
    module = importlib.import_module(_LAZY[name])
    found = globals()[name] = module if name in ("init", "reference") else getattr(module, name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
