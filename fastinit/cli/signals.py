"""SIGINT, SIGTERM and SIGHUP end a command in the same way: as an exception, so that it can tidy up and say what is left."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import FrameType
from typing import NoReturn

from fastinit.checkpoint.errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], object]


def stoppable() -> AbstractContextManager[None]:
    """While in here, each of the three signals raises ``Stopped`` in the main thread, but none while one is being handled.

    So a second one does not end the tidying up after the first, and one whose exception Python swallowed, as it does in
    ``__del__``, has not made the command deaf. Only what the system or Python handles by default is replaced: under nohup a
    hang-up stays ignored. Afterwards all is as it was. In another thread than the main one, where Python handles no signal,
    nothing happens; nor under torchrun, which ends its ranks by SIGTERM, and one that waits for the others in a collective
    would not come to see an exception.
    """
    return nullcontext() if _under_torchrun() else _heard_by(_stop)


def stopped_at_once(said: str) -> AbstractContextManager[None]:
    """While in here, a signal that would raise ``Stopped`` ends the process in a line: for an import.

    There is nothing to tidy up, and an exception would not come through: torch's C++ imports numpy, and goes on without.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        with suppress(OSError):
            os.write(2, f"{said}: {Stopped(number)}\n".encode())
        os._exit(128 + number)

    return _heard_by(end)


def leave_interrupts_to_the_system() -> None:
    """Where Python would show a traceback, outside of ``stoppable``, SIGINT ends this process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler and not _under_torchrun():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def _heard_by(handler: _Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    replaced = (signal.SIG_DFL, signal.default_int_handler, _stop)
    before = {number: found for number in SIGNALS if (found := signal.getsignal(number)) in replaced}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, found in before.items():
            signal.signal(number, found)


def _stop(number: int, frame: FrameType | None) -> None:
    if not any(isinstance(error, Stopped) for error in _handled()):
        raise Stopped(number)


def _handled() -> Iterator[BaseException]:
    """The exception that an ``except``, a ``finally`` or a ``with`` is dealing with at this moment, and those before it."""
    error = sys.exc_info()[1]
    while error is not None:
        yield error
        error = error.__context__


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ
