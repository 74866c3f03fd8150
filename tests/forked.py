"""Python commands without the imports: in processes forked from one that has torch and fastinit, and no thread.

On few cores the imports of a process take longer than most of what a test wants of it. What is not as in a process of
its own: the interpreter neither begins nor ends here, so a test of either starts a real one.
"""

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

SERVER = multiprocessing.get_context("forkserver")
# All that the commands import, but for fastinit's own modules that are run as __main__, and for what compiles.
SERVER.set_forkserver_preload(
    ["fastinit.cli.distributed", "fastinit.cli.init", "torch.distributed.fsdp", "torch.distributed.tensor.debug"]
)


class Forked:
    """``python ARGUMENTS``, where the first is -m, -c or the path of a script; Triton's kernels are compiled in it.

    >>> Forked("-c", "print(6 * 7)").wait().stdout
    '42\\n'
    """

    def __init__(self, *arguments: str, environment: Mapping[str, str] = os.environ) -> None:
        environment = {name: value for name, value in environment.items() if name != "TRITON_INTERPRET"}
        self._folder = TemporaryDirectory()
        self._outputs = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        self._process = SERVER.Process(target=become, args=(arguments, environment, self._outputs))
        interpret = os.environ.pop("TRITON_INTERPRET", None)  # the first of all processes starts the one that is forked
        try:
            self._process.start()
        finally:
            if interpret is not None:
                os.environ["TRITON_INTERPRET"] = interpret

    @property
    def pid(self) -> int | None:
        """Its number."""
        return self._process.pid

    def wait(self, timeout: float = 120) -> CompletedProcess[str]:
        """Its exit code and output, once it has ended; AssertionError with the output when it does not."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # and what it has forked
            self._process.kill()
            self._process.join()
        stdout, stderr = (path.read_text() if path.exists() else "" for path in self._outputs)
        self._folder.cleanup()
        assert code is not None, f"still running after {timeout} s:\n{stdout}\n{stderr}"
        return CompletedProcess([], code, stdout, stderr)


def become(arguments: list[str], environment: dict[str, str], outputs: list[Path]) -> None:
    """In the forked process: do as ``python ARGUMENTS`` does."""
    import torch

    os.setsid()
    for stream, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.environ.clear()
    os.environ.update(environment)
    if "OMP_NUM_THREADS" in environment:
        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))  # read long ago
    how, *rest = arguments
    if how == "-c":
        sys.argv = ["-c"]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif how == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        sys.path.insert(0, str(Path(how).parent))
        runpy.run_path(how, run_name="__main__")
