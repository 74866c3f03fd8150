"""Weightless: a model is built and initialised as on the CPU, but on the meta device, which takes no memory.

``torch.device("meta")`` would do for most, but numbers given in Python are lost there, transformers leaves out the initialisation,
and so do torch.nn.init's ``orthogonal_``, ``sparse_`` and ``dirac_``.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# What makes tensors as large as weights. Sequences and numbers given in Python are small, and stay where they can be read.
_LARGE = {
    torch.empty,
    torch.empty_permuted,
    torch.empty_strided,
    torch.full,
    torch.normal,
    torch.ones,
    torch.rand,
    torch.randn,
    torch.zeros,
}
_GIVEN = {torch.tensor, torch.as_tensor, torch.scalar_tensor, torch.arange, torch.linspace, torch.logspace}
_IS_META = Tensor.is_meta.__get__  # type: ignore[attr-defined]


class Weightless(TorchFunctionMode):
    """Within it, large tensors are made on the meta device."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        around = function is torch.normal and any(isinstance(given, Tensor) for given in (*args, *kwargs.values()))
        if function in _LARGE and not around and kwargs.get("device") is None and kwargs.get("out") is None:
            kwargs = {**kwargs, "device": "meta"}
        elif function in _GIVEN and torch.device(kwargs.get("device") or "cpu").type == "meta":
            kwargs = {**kwargs, "device": "cpu"}
        elif function == _IS_META and _asked_by(sys._getframe(1)) is nn.init.__dict__:
            return False
        return function(*args, **kwargs)


def _asked_by(frame: Any) -> Any:
    """The names of the module that asks, whatever modes are in between."""
    while frame.f_code.co_name == "__torch_function__":
        frame = frame.f_back
    return frame.f_globals
