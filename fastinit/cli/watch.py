"""A rank at files ends at once, in a line, when torchrun stops it or another rank is gone, whatever it is doing then.

Its main thread may be in a collective that nobody will join any more, or write for minutes before the next. So threads of their
own listen: one to signals, one to the other ranks. They tidy nothing up: what is written stays, for ``--resume``, and the system
frees the name.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from fastinit.checkpoint.errors import LostRankError, Stopped, UsageError
from fastinit.cli.process import flush
from fastinit.cli.signals import SIGNALS
from fastinit.model.shown import shown

_PERIOD = 0.5  # seconds between two rounds; a rank that is killed is noticed in the round that it does not join


class Watch:
    """What ends a rank early; ``said`` is who says so, and ``first`` whether it is the one that gives what is written its name."""

    def __init__(self, said: str, first: bool = True) -> None:
        self._said, self._first = said, first
        self._partial: Path | None = None
        self._may_be_named = False
        self._ending = threading.Lock()
        self._leaving = threading.Event()

    def begun(self, partial: Path) -> AbstractContextManager[object]:
        """From now on what is left when it ends early lies in this folder, until that has the final name.

        It gets the name within the context: the first rank does not end between its last words and this, and the others, which
        wait for it, cannot know.
        """
        self._partial = partial
        return self._ending if self._first else self._waiting()

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self._may_be_named = True
        yield

    def end(self, code: int, why: str) -> NoReturn:
        """End the process, in a line; the first who calls it has the word."""
        with self._ending:  # and never let go
            os.write(2, f"{self._said}: {why}{self._left()}\n".encode(errors="backslashreplace"))
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, RuntimeError):  # nobody reads it, or the main thread is at it
                    flush(stream)
            os._exit(code)

    def _left(self) -> str:
        if self._partial is None or not self._partial.exists():
            return ""
        unless = ", unless it has its name by now" if self._may_be_named else ""
        return f"; what is written is in {shown(self._partial)}{unless}: --resume goes on with it"

    @contextmanager
    def signals(self) -> Iterator[None]:
        """While in here, SIGINT, SIGTERM and SIGHUP end the rank."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        thread = threading.Thread(target=self._hear, args=(reader,), daemon=True)
        thread.start()
        before = {number: signal.signal(number, _nothing) for number in SIGNALS}
        descriptor = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, found in before.items():
                signal.signal(number, found)
            os.close(writer)
            thread.join()

    @contextmanager
    def others(self, group: Any) -> Iterator[None]:
        """While in here, the rank ends when another one does, or is not heard of for the group's timeout."""
        thread = threading.Thread(target=self._beat, args=(group,), daemon=True)
        thread.start()
        try:
            yield
        except LostRankError as error:
            self.end(2, f"error: {error}")
        except UsageError:  # everyone's
            self._leave(thread)
            raise
        else:
            self._leave(thread)

    def _leave(self, thread: threading.Thread) -> None:
        self._leaving.set()
        thread.join()

    def _hear(self, reader: int) -> None:
        heard = os.read(reader, 1)
        if heard:
            self.end(128 + heard[0], str(Stopped(heard[0])))
        os.close(reader)

    def _beat(self, group: Any) -> None:
        """Meet the other ranks again and again, until all of them are leaving."""
        try:
            while True:
                staying = torch.tensor([not self._leaving.is_set()], dtype=torch.int64, device="cpu")
                dist.all_reduce(staying, group=group)
                if not staying.item():
                    return
                self._leaving.wait(_PERIOD)
        except RuntimeError:
            self.end(2, "error: another rank is gone")


def _nothing(number: int, frame: FrameType | None) -> None:
    """The thread that reads of the signal does what is to be done."""
