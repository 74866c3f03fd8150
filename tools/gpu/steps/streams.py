"""Streams: fills keep the order of the stream that they are called in, in any thread, and make nobody wait."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

import fastinit
from fastinit import Key
from gpu.fills import are_filled, empties, empty, fill, fill_list, is_filled, keys
from gpu.here import Here
from gpu.truth import Wrong

KEY = Key.of("streamed", seed=1)


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    return {
        "behind what the stream does": lambda: _behind(here),
        "on a side stream, waited for by an event": lambda: _side(here),
        "lists on two streams at once": lambda: _two(here),
        "threads, each with its stream": lambda: _threads(here),
        "nobody waits": lambda: _no_wait(here),
    }


def busy(here: Here) -> None:
    """Keep the current stream busy for a while."""
    torch.cuda._sleep(here.sizes.busy)


def _behind(here: Here) -> dict:
    """NaNs that are written late do not overwrite a fill that was called later."""
    tensor = fill(empty(here), KEY)
    torch.cuda.synchronize()
    busy(here)
    tensor.fill_(torch.nan)
    fill(tensor, KEY)
    copy = tensor.clone()
    torch.cuda.synchronize()
    return {"elements": is_filled(here, copy, KEY)}


def _side(here: Here) -> dict:
    tensor = fill(empty(here), KEY)
    torch.cuda.synchronize()
    side, event = torch.cuda.Stream(), torch.cuda.Event()
    tensor.fill_(torch.nan)
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        busy(here)
        fill(tensor, KEY)
        event.record()
    torch.cuda.current_stream().wait_event(event)
    copy = tensor.clone()
    return {"elements": is_filled(here, copy, KEY)}


def _two(here: Here) -> dict:
    own, lists, streams = [keys(here.sizes.list, seed) for seed in (1, 2)], [], []
    for _ in own:
        lists.append(empties(here))
        streams.append(torch.cuda.Stream())
    torch.cuda.synchronize()
    for _ in range(3):
        for tensors, theirs, stream in zip(lists, own, streams, strict=True):
            with torch.cuda.stream(stream):
                busy(here)
                fill_list(tensors, theirs)
    torch.cuda.synchronize()
    found = zip(lists, own, strict=True)
    return {"elements": sum(are_filled(here, tensors, theirs) for tensors, theirs in found)}


def _threads(here: Here, number: int = 4) -> dict:
    own, tensors = keys(number), [empty(here, 4096 + 8 * k) for k in range(number)]
    torch.cuda.synchronize()

    def run(k: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(here.sizes.rounds[1]):
                tensors[k].fill_(torch.nan)
                fill(tensors[k], own[k])
            torch.cuda.current_stream().synchronize()

    with ThreadPoolExecutor(number) as pool:
        list(pool.map(run, range(number)))
    return {"elements": are_filled(here, tensors, own)}


def _no_wait(here: Here) -> dict:
    """While the stream is busy, calls return: of a fill, of a list, of a key from the device's generator."""
    tensor, tensors, own = empty(here), empties(here), keys(here.sizes.list)
    calls: dict[str, Callable[[], object]] = {
        "a fill": lambda: fill(tensor, KEY),
        "a list": lambda: fill_list(tensors, own),
        "three lists": lambda: [fill_list(tensors, own) for _ in range(3)],
        "a key of a generator": lambda: fastinit.normal_(tensor),
    }
    figures, waited = {}, []
    for name, call in calls.items():
        call()
        torch.cuda.synchronize()
        end = torch.cuda.Event()
        busy(here)
        end.record()
        begin = time.perf_counter()
        call()
        figures[f"{name}, us"] = round((time.perf_counter() - begin) * 1e6, 1)
        if end.query():
            waited.append(name)
        torch.cuda.synchronize()
    if waited:
        raise Wrong(f"the host waited for the stream: {', '.join(waited)}", **figures)
    return figures
