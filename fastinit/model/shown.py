"""Names that others chose, and sizes, as they may be printed."""

import re
from pathlib import PurePath

_PLAIN = re.compile(r"[A-Za-z0-9_.,+@%=:/-]+")
_LONGEST = 200  # characters of a name that somebody else chose


def shown(name: object) -> str:
    """A name from a model, a file or a path: as it is, or quoted, so that it can neither end nor begin a line.

    >>> print(shown("blocks.0.attention.w_q.weight"), shown("all bits are\\nthose of \\x1b[2J"))
    blocks.0.attention.w_q.weight 'all bits are\\nthose of \\x1b[2J'
    """
    if isinstance(name, str | PurePath) and _PLAIN.fullmatch(str(name)):
        return _cut(str(name))
    return quoted(str(name) if isinstance(name, PurePath) else name)


def quoted(value: object) -> str:
    """A value from a file with its type: a text is quoted, however plain it is.

    >>> print(quoted("2"), quoted(2))
    '2' 2
    """
    return _cut(ascii(value))


def size_text(size: int) -> str:
    """The size for people.

    >>> size_text(13838323712)
    '13.84 GB'
    """
    return f"{size / 1e9:.2f} GB" if size >= 10**8 else f"{size / 1e6:.3g} MB"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
