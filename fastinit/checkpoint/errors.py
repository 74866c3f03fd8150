"""How a command ends early: a request that cannot be met, or a signal, each told in one line."""

import signal


class UsageError(Exception):
    """What the user asked for is not to be had here; the command ends with exit code 2 and this message."""


class LostRankError(UsageError):
    """Another process of the run is gone; each that is left says so and ends by itself, and waits for nobody."""


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end; ``left`` says what it leaves behind, and the exit code is 128 + ``number``."""

    def __init__(self, number: int = signal.SIGINT, left: str = "") -> None:
        super().__init__()
        self.number, self.left = number, left

    def __str__(self) -> str:
        what = "interrupted" if self.number == signal.SIGINT else f"stopped by {signal.Signals(self.number).name}"
        return f"{what}: {self.left}" if self.left else what
