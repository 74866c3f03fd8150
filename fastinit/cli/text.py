"""What a terminal shows: names that others chose, and a bar for what takes longer than a second."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath

_PLAIN = re.compile(r"[A-Za-z0-9_.,+@%=:/-]+")
_LONGEST = 200  # characters of a name that somebody else chose


def shown(name: object) -> str:
    """A name from a file or a path as it may be printed: as it is, or quoted, so that it can neither end nor begin a line.

    >>> print(shown("blocks.0.attention.w_q.weight"), shown("all bits are\\nthose of \\x1b[2J"))
    blocks.0.attention.w_q.weight 'all bits are\\nthose of \\x1b[2J'
    """
    text = ascii(name)
    if isinstance(name, str | PurePath):
        text = str(name) if _PLAIN.fullmatch(str(name)) else ascii(str(name))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


@contextmanager
def bar(total: int, label: str) -> Iterator[Callable[[int], object]]:
    """A function that moves a bar on. It is drawn after a second, on a terminal, and where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda count: None
        return
    # disable=None: no bar where stderr is no terminal.
    with tqdm(total=total, desc=label, unit=" elements", unit_scale=True, delay=1, disable=None, leave=False) as shown:
        yield shown.update
