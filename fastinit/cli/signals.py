"""SIGINT, SIGTERM and SIGHUP end a command in the same way: as an exception, so that it can tidy up and say what is left."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fastinit.cli.errors import Stopped

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stoppable() -> Iterator[None]:
    """While in here, the first of the three signals raises ``Stopped`` in the main thread, and the others are ignored.

    Only what the system or Python handles by default is replaced: under nohup a hang-up stays ignored. Afterwards all is
    as it was. In another thread than the main one, where Python handles no signal, nothing happens; nor under torchrun, which
    ends its ranks by SIGTERM, and one that waits for the others in a collective would not come to see an exception.
    """
    if threading.current_thread() is not threading.main_thread() or "TORCHELASTIC_RUN_ID" in os.environ:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        for replaced in before:  # a second one must not end the tidying up
            signal.signal(replaced, signal.SIG_IGN)
        raise Stopped(number)

    defaults = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: handler for number in _SIGNALS if (handler := signal.getsignal(number)) in defaults}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
