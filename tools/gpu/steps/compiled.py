"""torch.compile: fills within what it compiles, alone and as CUDA graphs."""

from collections.abc import Callable

import torch
from torch import Tensor

import fastinit
from fastinit import Key
from gpu.fills import LAW, are_filled, empties, empty, fill, fill_list, is_filled, keys
from gpu.here import Here

KEY = Key.of("compiled", seed=1)


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    return {
        "a fill between two operators": lambda: _between(here, {}),
        "a fill between two operators, as a CUDA graph": lambda: _between(here, {"triton.cudagraphs": True}),
        "a list": lambda: _list(here),
        "a new tensor": lambda: _new(here),
    }


def _compile(here: Here, function: Callable, options: dict | None = None) -> Callable:
    torch._dynamo.reset()
    known = options if here.compiler == "inductor" else None
    return torch.compile(function, backend=here.compiler, fullgraph=True, options=known or None)


def _between(here: Here, options: dict) -> dict:
    def doubled(tensor: Tensor) -> Tensor:
        tensor = tensor * 0.0
        return fill(tensor, KEY) + 0.0

    call = _compile(here, doubled, options)
    for _ in range(4):  # a graph is captured at the second call, and replayed from the third on
        result = call(torch.ones(here.sizes.fill, device=here.device)).clone()
    return {"elements": is_filled(here, result, KEY)}


def _list(here: Here) -> dict:
    tensors, own = empties(here, 8), keys(8)
    call = _compile(here, lambda tensors: fill_list(tensors, own))
    for _ in range(2):
        for tensor in tensors:
            tensor.fill_(torch.nan)
        call(tensors)
    return {"elements": are_filled(here, tensors, own)}


def _new(here: Here) -> dict:
    """In place, in a tensor that is not the function's own."""
    tensor = empty(here)
    call = _compile(here, lambda tensor: fastinit.trunc_normal_(tensor, *LAW.parameters(), key=KEY))
    for _ in range(2):
        tensor.fill_(torch.nan)
        call(tensor)
        is_filled(here, tensor, KEY)
    return {"elements": tensor.numel()}
