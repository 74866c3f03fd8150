"""Stopwatch: seconds that pieces of work take on a device, added up by label."""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable

import torch


class Stopwatch:
    """Adds up the time of labelled work; on a GPU by events in its stream, so that nothing waits before the end."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._seconds: dict[Hashable, float] = defaultdict(float)
        self._events: list[tuple[Hashable, torch.cuda.Event, torch.cuda.Event]] = []

    def time(self, label: Hashable, work: Callable[[], object]) -> None:
        """Do the work, and add what it takes to the label's time."""
        if self._cuda:
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            work()
            end.record()
            self._events.append((label, start, end))
        else:
            began = time.perf_counter()
            work()
            self._seconds[label] += time.perf_counter() - began

    def seconds(self, label: Hashable) -> float:
        """All of the label's time so far."""
        if self._events:
            torch.cuda.synchronize()
            for event_label, start, end in self._events:
                self._seconds[event_label] += start.elapsed_time(end) / 1e3
            self._events.clear()
        return self._seconds[label]
