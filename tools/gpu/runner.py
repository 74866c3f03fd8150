"""Steps in processes of their own: a crash, a hang or a broken CUDA context is the end of one case, and of nothing else.

This process imports all that a step needs, and never touches the GPU: what it forks has a CUDA of its own, and begins at once.
"""

import faulthandler
import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress

import torch

from bench.rows import environment
from gpu.rows import File, cases, unfinished
from gpu.steps import STEPS, Step
from gpu.tool import NotHere

FORK = multiprocessing.get_context("fork")
BROKEN = 3  # the exit code of a worker that a case has left with a GPU that is of no use
LOOK = 0.02  # seconds
LONGEST = 4000  # characters of an error


def run(names: list[str], budget: float, on: str, file: File, again: bool = False) -> Iterator[str]:
    """Run the steps, one after the other, until all is done or the seconds are spent; a line of each that has ended."""
    end = time.monotonic() + budget
    first = len(file.read()) if again else 0  # the rows from which on a case counts as done
    for name in names:  # what is imported here, no process has to; what cannot be imported is the step's own failure
        with suppress(Exception):
            importlib.import_module(f"gpu.steps.{name}")
    machine = _forked(file, _note_machine, on, file)
    _join(machine, end)
    if machine.exitcode != 0:
        error = f"the machine cannot be looked at: {_ended(machine)}"
        file.add("run", error=error)
        yield error
    for name in names:
        begin = time.monotonic()
        why = _run_step(STEPS[name], min(begin + STEPS[name].seconds, end), on, file, first)
        taken = time.monotonic() - begin
        file.add("step", step=name, ended=not why, why=why, seconds=round(taken, 1))
        yield f"{name:12}{taken:6.1f} s  {_told(file, name)}{why and f' ({why})'}"


def _told(file: File, step: str) -> str:
    found = cases(file.read(), step)
    failed = [case for case, row in found.items() if not row["ok"]]
    return f"{len(found) - len(failed)} ok" + (f", {len(failed)} failed: {'; '.join(failed)}" if failed else "")


def _run_step(step: Step, end: float, on: str, file: File, first: int) -> str:
    """Run what is left of a step; why it has not come to its end, or nothing."""
    number = importlib.import_module(on).WORKERS if step.shared else 1
    if time.monotonic() >= end:
        return "no seconds were left"
    workers = [_Worker(step, (k, number), on, file, first) for k in range(number)]
    while any(worker.goes_on() for worker in workers):
        if time.monotonic() >= end:
            for worker in workers:
                worker.stop()
            return "its seconds were spent"
        time.sleep(LOOK)
    return "; ".join({worker.why for worker in workers} - {""})


class _Worker:
    """A process that runs the cases of its share, one after the other, and is replaced where it breaks."""

    def __init__(self, step: Step, share: tuple[int, int], on: str, file: File, first: int) -> None:
        self.step, self.share, self.on, self.file, self.first = step, share, on, file, first
        self.why = ""
        self._start()

    def _start(self) -> None:
        self.seen = len(self.file.read())
        self.process = _forked(self.file, _work, self.step, self.share, self.on, self.file, self.first)

    def goes_on(self) -> bool:
        """Whether there is something left to wait for."""
        if self.process.is_alive():
            return True
        self._end_group()
        if self.process.exitcode == 0 or self.why:
            return False
        rows = [row for row in self.file.read()[self.seen :] if row.get("worker") == self.share[0]]
        case = unfinished(rows, self.step.name, self.share[0])
        if case is not None:
            error = f"its process ended: {_ended(self.process)}"
            self.file.add("case", step=self.step.name, case=case, worker=self.share[0], ok=False, error=error)
        if not rows:  # as would the next
            self.why = f"a process began no case: {_ended(self.process)}"
            return False
        self._start()
        return True

    def stop(self) -> None:
        """End the process, and all that it has started."""
        if self.process.is_alive():
            self._end_group()

    def _end_group(self) -> None:
        """A tool that a process has started outlives it, and would share the GPU with what comes next."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.is_alive():  # it has no group yet
            self.process.kill()
        self.process.join()


def _forked(file: File, function: Callable[..., None], *arguments: object) -> multiprocessing.Process:
    """A process, in a group of its own, that writes what it prints into log.txt."""
    process = FORK.Process(target=_become, args=(file.path.parent / "log.txt", function, *arguments))
    process.start()
    return process


def _become(log: os.PathLike, function: Callable[..., None], *arguments: object) -> None:
    os.setsid()
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), stream)
    function(*arguments)


def _join(process: multiprocessing.Process, end: float) -> None:
    process.join(max(0.0, end - time.monotonic()))
    if process.is_alive():
        process.kill()
        process.join()


def _ended(process: multiprocessing.Process) -> str:
    code = process.exitcode
    return signal.Signals(-code).name if code < 0 else f"exit code {code}, see log.txt"


def _note_machine(on: str, file: File) -> None:
    here = importlib.import_module(on).here()
    properties = torch.cuda.get_device_properties(0)
    more = {
        "multiprocessors": properties.multi_processor_count,
        "memory_gb": round(properties.total_memory / 1e9, 1),
        "cpus": os.cpu_count(),
        "python": sys.version.split()[0],
    }
    file.add("run", **environment(here.device) | more)


def _work(step: Step, share: tuple[int, int], on: str, file: File, first: int) -> None:
    """Run the cases of a share of which there is no row yet."""
    here = importlib.import_module(on).here()
    found = importlib.import_module(f"gpu.steps.{step.name}").cases(here)
    done = cases(file.read()[first:], step.name)
    worker, number = share
    for name in [name for name in list(found)[worker::number] if name not in done]:
        file.add("began", step=step.name, case=name, worker=worker)
        faulthandler.dump_traceback_later(step.case_seconds, exit=True)
        begin, error = time.perf_counter(), ""
        try:
            figures = found[name]()
        except NotHere as raised:
            figures = {"not here": str(raised)}
        except (Exception, SystemExit) as raised:  # whatever goes wrong is what is to be found out; bench's gate exits
            figures, error = getattr(raised, "figures", {}), f"{type(raised).__name__}: {raised}"[:LONGEST]
            traceback.print_exc()
        faulthandler.cancel_dump_traceback_later()
        file.add(
            "case", step=step.name, case=name, worker=worker, ok=not error, error=error,
            seconds=round(time.perf_counter() - begin, 3), figures=figures,
        )  # fmt: skip
        if error and not _usable(here.device):
            os._exit(BROKEN)


def _usable(device: torch.device) -> bool:
    """Whether the GPU still does as it is told, which it does not after an illegal access."""
    try:
        torch.cuda.synchronize()
        return torch.ones(1, device=device).item() == 1.0
    except RuntimeError:
        return False
