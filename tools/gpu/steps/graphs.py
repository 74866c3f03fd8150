"""CUDA graphs: a replay fills again, of lists too, whatever has become of the memory that the first fill was made from."""

from collections.abc import Callable

import torch
from torch import Tensor

from fastinit import Key
from gpu.fills import are_filled, empties, empty, fill, fill_list, is_filled, keys
from gpu.here import Here
from gpu.truth import Wrong

KEY = Key.of("captured", seed=1)


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    return {
        "one fill": lambda: _one(here),
        "fills of one tensor after another, in one graph": lambda: _several(here),
        "a list": lambda: _list(here),
        "a list, and lists filled beside its replays": lambda: _list_beside_others(here),
        # Last, as it may leave the GPU unusable.
        "a fill that nothing like was filled before": lambda: _cold(here),
    }


def captured(call: Callable[[], object]) -> torch.cuda.CUDAGraph:
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def _one(here: Here) -> dict:
    tensor = fill(empty(here), KEY)  # compiles
    graph = captured(lambda: fill(tensor, KEY))
    for _ in range(3):
        _replayed(graph, [tensor])
        is_filled(here, tensor, KEY)
    return {"replays": 3}


def _several(here: Here) -> dict:
    tensors = [empty(here, 4096 + 8 * k) for k in range(4)]
    fill(tensors[0], KEY)
    own = keys(len(tensors))
    graph = captured(lambda: [fill(tensor, key) for tensor, key in zip(tensors, own, strict=True)])
    _replayed(graph, tensors)
    return {"elements": are_filled(here, tensors, own)}


def _list(here: Here) -> dict:
    tensors, own = empties(here), keys(here.sizes.list)
    fill_list(tensors, own)
    graph = captured(lambda: fill_list(tensors, own))
    _replayed(graph, tensors)
    return {"elements": are_filled(here, tensors, own)}


def _list_beside_others(here: Here) -> dict:
    """A replay reads nothing from memory that others have had since."""
    tensors, own = empties(here), keys(here.sizes.list)
    fill_list(tensors, own)
    graph = captured(lambda: fill_list(tensors, own))
    others, theirs = empties(here), keys(here.sizes.list, seed=2)
    for _ in range(3):
        fill_list(others, theirs)
        _replayed(graph, tensors)
        fill_list(others, theirs)
        torch.cuda.synchronize()
        are_filled(here, tensors, own)
        are_filled(here, others, theirs)
    return {"replays": 3}


def _cold(here: Here) -> dict:
    """Whether a kernel can be compiled and loaded under capture: told, and no fault where it cannot."""
    tensor = empty(here, 4096, torch.float16)
    try:
        graph = captured(lambda: fill(tensor, KEY))
    except RuntimeError as error:
        return {"can be captured": False, "says": str(error).splitlines()[0]}
    _replayed(graph, [tensor])
    is_filled(here, tensor, KEY)
    return {"can be captured": True}


def _replayed(graph: torch.cuda.CUDAGraph, tensors: list[Tensor]) -> None:
    for tensor in tensors:
        tensor.fill_(torch.nan)
    graph.replay()
    torch.cuda.synchronize()
    if any(bool(tensor.isnan().any()) for tensor in tensors):
        raise Wrong("a replay left elements as they were")
