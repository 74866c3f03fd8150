"""How the process of the command line ends: with the code that the command returned, under torchrun too.

There the interpreter must not end by itself. gloo's threads outlive ``destroy_process_group``, as every DeviceMesh and
DTensor's caches hold their groups, and one that drops its last reference to a tensor while the interpreter finalises is
ended by Python < 3.14 in a way that C++ answers with an abort: some runs in a hundred of a job that went well.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn, TextIO


def run_and_end(command: Callable[[], int]) -> NoReturn:
    """Carry out the command, and end the process with its code; 1, after the traceback, when it raises."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # not started by torchrun
        sys.exit(command())
    try:
        code = command()
        _leave_together()
    except SystemExit as stop:  # argparse's way
        code = stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:  # of one that came before, the command has told
        code = 128 + signal.SIGINT
    except BaseException:
        # The other ranks are not waited for: they may be in a collective that this one will never join.
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            flush(stream)
        except OSError:  # nobody reads it any more
            code = code or 1
    os._exit(code)


def occupy_standard_streams() -> None:
    """Take the descriptors 0 to 2 where the process was started without them: else the next file that is opened, a shard of a
    checkpoint, would get one, and with it what a library's C code writes there."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # the system gives the lowest that is free
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def quieten() -> None:
    """Under torchrun, have torch's C++ say nothing of a rank that is gone: our own line does, and it would say it in five.

    It looks when it is loaded.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")


def _leave_together() -> None:
    """No rank leaves while another still gathers from it, or has yet to say what is wrong."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def ended_alone(code: int) -> int:
    """The code of a run that ends for a reason of its own; under torchrun no other rank is waited for, as above."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise SystemExit(code)
    return code


def flush(stream: TextIO | None) -> None:
    """Write what a stream still holds; there is no stream where the process was started without, and it may be closed."""
    if stream is not None and not stream.closed:
        stream.flush()


def drop_output() -> None:
    """Where standard output cannot be written to, drop what is left of it: Python would try again when it ends."""
    try:
        flush(sys.stdout)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
