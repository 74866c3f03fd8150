"""Timing: providers take turns within one run, so that what disturbs the machine disturbs them all."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

Name = TypeVar("Name", bound=Hashable)
Call = Callable[[], object]

LEAST, MOST = 5, 30  # rounds
_SHORTEST = 200e-6  # seconds: what a CPU's clock is read for
_FLUSH_BYTES = 2**28  # more than any L2 there is; and while the GPU writes them, the host prepares the launch


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call: the median of all rounds, and the second and the eighth decile."""

    median: float
    p20: float
    p80: float
    repeats: int

    @classmethod
    def of(cls, seconds: list[float]) -> "Timing":
        if len(seconds) == 1:
            return cls(seconds[0], seconds[0], seconds[0], 1)
        deciles = statistics.quantiles(seconds, n=10, method="inclusive")
        return cls(statistics.median(seconds), deciles[1], deciles[7], len(seconds))


def interleaved(
    calls: Mapping[Name, Call],
    device: torch.device,
    seconds: float,
    least: int = LEAST,
    most: int = MOST,
    clock: "Wall | Events | None" = None,
) -> dict[Name, Timing]:
    """Time all calls in rounds, one after the other in each, until the seconds are spent. They must be warm."""
    clock = clock or (Events(device) if device.type == "cuda" else Wall())
    clock.prepare(calls)
    times: dict[Name, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    while (done := len(next(iter(times.values())))) < least or (
        done < most and time.perf_counter() - begin < seconds * done / (done + 1)
    ):
        for name, taken in clock.round(calls).items():
            times[name].append(taken)
    return {name: Timing.of(taken) for name, taken in times.items()}


class Wall:
    """On a CPU. A short call is repeated until the clock can tell its time."""

    def prepare(self, calls: Mapping[Name, Call]) -> None:
        self._batch = {name: max(1, round(_SHORTEST / self._seconds(call, 1))) for name, call in calls.items()}

    def round(self, calls: Mapping[Name, Call]) -> dict[Name, float]:
        return {name: self._seconds(call, self._batch[name]) for name, call in calls.items()}

    @staticmethod
    def _seconds(call: Call, number: int) -> float:
        begin = time.perf_counter()
        for _ in range(number):
            call()
        return (time.perf_counter() - begin) / number


class Events:
    """On a GPU: events in its stream around each call, and no wait before the end of a round.

    Every call finds an L2 that holds none of its tensor, and a stream that is busy until the call has been launched: what
    is timed is the GPU's work, unless the call makes the host wait.
    """

    def __init__(self, device: torch.device) -> None:
        self._other = torch.empty(_FLUSH_BYTES, dtype=torch.int8, device=device)

    def prepare(self, calls: Mapping[Name, Call]) -> None:
        torch.cuda.synchronize()

    def round(self, calls: Mapping[Name, Call]) -> dict[Name, float]:
        events = {name: [torch.cuda.Event(enable_timing=True) for _ in range(2)] for name in calls}
        for name, call in calls.items():
            self._other.zero_()
            events[name][0].record()
            call()
            events[name][1].record()
        torch.cuda.synchronize()
        return {name: start.elapsed_time(end) / 1e3 for name, (start, end) in events.items()}
