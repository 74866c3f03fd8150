"""The processes that write or prove one checkpoint together: one alone, or the ranks of a run under torchrun."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed as dist

from fastinit.checkpoint.errors import LostRankError, UsageError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Ranks:
    """``group`` is theirs, on the CPU; with one process there is none. What goes between them is a few words, never a tensor."""

    rank: int = 0
    count: int = 1
    group: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this one does what one alone can do."""
        return self.rank == 0

    def from_first(self, action: Callable[[], _T]) -> _T:
        """What the action returns to the first rank, which alone carries it out. Its ``UsageError`` is everyone's."""
        if self.group is None:
            return action()
        sent: list[Any] = [None, None]
        if self.is_first:
            try:
                sent[0] = action()
            except UsageError as error:
                sent[1] = str(error)
        with self.losing():
            dist.broadcast_object_list(sent, group=self.group)
        if sent[1] is not None:
            raise UsageError(sent[1])
        found: _T = sent[0]
        return found

    def each(self, own: _T) -> list[_T]:
        """What every rank gives, by rank; all wait for all."""
        if self.group is None:
            return [own]
        given: list[Any] = [None] * self.count
        with self.losing():
            dist.all_gather_object(given, own, group=self.group)
        return given

    def agreed(self, action: Callable[[], _T]) -> _T:
        """What the action returns; a ``UsageError`` on any rank is everyone's."""
        found, problem = None, None
        try:
            found = action()
        except UsageError as error:
            problem = str(error)
        problems = [each for each in self.each(problem) if each is not None]
        if problems:
            raise UsageError(problems[0])
        result: _T = found  # type: ignore[assignment]  # there was no problem
        return result

    @contextmanager
    def losing(self) -> Iterator[None]:
        """What torch.distributed raises in here, when another rank is gone, is a ``LostRankError``."""
        try:
            yield
        except RuntimeError as error:
            if self.group is None:
                raise
            raise LostRankError("another rank is gone") from error

    def mine(self, sizes: dict[str, int]) -> list[str]:
        """The names that are this rank's of those with sizes: each goes to the rank that has least, the largest first."""
        taken = [0] * self.count
        own = []
        for name in sorted(sizes, key=lambda name: -sizes[name]):
            rank = taken.index(min(taken))
            taken[rank] += sizes[name]
            if rank == self.rank:
                own.append(name)
        return sorted(own, key=list(sizes).index)


ALONE = Ranks()
