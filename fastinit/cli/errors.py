"""UsageError: a request that cannot be met, told in one line."""


class UsageError(Exception):
    """What the user asked for is not to be had here; the command ends with exit code 2 and this message."""
