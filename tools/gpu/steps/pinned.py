"""The tables of lists: pinned memory is copied from while the stream is busy, and wanted by others meanwhile."""

from collections.abc import Callable

import torch

from gpu.fills import are_filled, empties, fill_list, keys
from gpu.here import Here
from gpu.steps.streams import busy

OTHERS = 64  # tensors of pinned memory that are taken and overwritten for each list


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    return {
        "many lists in flight": lambda: _in_flight(here, here.sizes.lists, 1),
        "many lists in flight on four streams": lambda: _in_flight(here, here.sizes.lists, 4),
    }


def _in_flight(here: Here, number: int, streams: int) -> dict:
    """Each list is called while those before it still wait, and then whatever memory can be had is overwritten."""
    lists, own = [empties(here) for _ in range(number)], [keys(here.sizes.list, seed) for seed in range(number)]
    fill_list(lists[0], own[0])
    torch.cuda.synchronize()
    for tensor in lists[0]:
        tensor.fill_(torch.nan)
    sides = [torch.cuda.Stream() for _ in range(streams)]
    torch.cuda.synchronize()
    for stream in sides:
        with torch.cuda.stream(stream):
            busy(here)
    size = here.sizes.list * 100  # bytes: about a table
    for k, (tensors, theirs) in enumerate(zip(lists, own, strict=True)):
        with torch.cuda.stream(sides[k % streams]):
            fill_list(tensors, theirs)
            for _ in range(OTHERS // number + 1):
                torch.empty(size, dtype=torch.uint8, pin_memory=here.device.type == "cuda").fill_(255)
                torch.empty(size, dtype=torch.uint8, device=here.device).fill_(255)
    torch.cuda.synchronize()
    found = zip(lists, own, strict=True)
    return {"lists": number, "elements": sum(are_filled(here, tensors, theirs) for tensors, theirs in found)}
