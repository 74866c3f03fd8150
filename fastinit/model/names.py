"""Names of parameters as a tree, in which those that differ in numbers alone are one: what they tell is found out once."""

from typing import NamedTuple

from fastinit.stream import WRAPPER_PARTS


class Like:
    """The canonical names, or their beginnings, that differ in numbers alone. Equal to itself only.

    >>> root = Like()
    >>> root.of("layers.3.experts.7.w1") == (root.of("layers.0.experts.0.w1").like, 3)
    True
    """

    __slots__ = ("_deeper", "_part", "steps")

    def __init__(self, part: str = "") -> None:
        self._part = part  # the last
        self._deeper: dict[str, Like] = {}
        self.steps: dict[str, Step] = {}  # those that were taken

    def step(self, name: str) -> "Step":
        """What the name that a module or a parameter has in its module adds to a name."""
        like, block, added = self, None, ""
        for part in name.split("."):
            if part and part not in WRAPPER_PARTS:
                if block is None and part.isdecimal() and like._part != "experts":
                    block = int(part)
                like = like._deeper.setdefault("0" if part.isdecimal() else part, Like(part))
                added += f"{part}."
        step = self.steps[name] = Step(added, added[:-1], like, block, added == f"{name}.")
        return step

    def of(self, name: str) -> "Place":
        """The place of a whole name."""
        like, block = self, None
        for part in name.split("."):
            _, _, like, number, _ = like.steps.get(part) or like.step(part)
            block = number if block is None else block
        return Place(like, block)


class Place(NamedTuple):
    """Where a name is in the tree, and the block that it names: its first number, but for an expert's."""

    like: Like
    block: int | None


class Step(NamedTuple):
    """From a name to the next: what is added to it, with a dot behind and without one, where that leads, and a block's number.

    ``plain``: what is added is the module's own name; nothing is where that is a wrapper's.
    """

    added: str
    last: str
    like: Like
    block: int | None
    plain: bool
