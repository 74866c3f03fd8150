"""Names that differ between a recipe and a model, and patterns of them."""

import re
from collections.abc import Callable, Mapping

from fastinit.stream import canonical_name

Rename = Callable[[str], str] | Mapping[str, str] | None


def renamer(rename: Rename) -> Callable[[str], str]:
    """The function that a ``rename=`` is: a function itself, a mapping of some names, or nothing.

    >>> renamer({"experts.0.w1": "experts.8.w1"})("experts.0.w1"), renamer(None)("lm_head.weight")
    ('experts.8.w1', 'lm_head.weight')

    Raises ``TypeError`` for anything else, and where the function returns what is no name.
    """
    if rename is None:
        return canonical_name
    if isinstance(rename, Mapping):
        return lambda name: canonical_name(rename.get(name, name))
    if callable(rename):
        return lambda name: canonical_name(rename(name))
    raise TypeError(f"rename: expected a function of a name, or a mapping of names, got {rename!r}")


def bound_by(pattern: str, name: str) -> tuple[str, ...] | None:
    """What the stars of a pattern stand for in a name: each for any letters of one part. None where it does not match.

    >>> bound_by("layers.*.w13", "layers.7.w13"), bound_by("layers.*.w13", "layers.7.w2")
    (('7',), None)
    """
    found = re.fullmatch("([^.]*)".join(map(re.escape, pattern.split("*"))), name)
    return None if found is None else found.groups()


def filled_in(pattern: str, stars: tuple[str, ...]) -> str:
    """The name that a pattern stands for.

    >>> filled_in("layers.*.w1", ("7",))
    'layers.7.w1'

    Raises ``ValueError`` for another number of stars.
    """
    pieces = pattern.split("*")
    if len(pieces) != len(stars) + 1:
        raise ValueError(f"aliases: expected {len(stars)} stars in a name of a part, got {pattern!r}")
    return "".join(piece + star for piece, star in zip(pieces, (*stars, ""), strict=True))
