"""Memory as a kernel sees it, with the state of each byte: what is read, written, and by whom, is checked.

The chapter "State Spaces, Types, and Variables" of the PTX ISA says which accesses are aligned; "Memory Consistency Model",
which ones race.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from ptx.text import PtxError

# What a byte is: in no tensor, in a table, to be written once, and written.
CLOSED, READABLE, AWAITED, WRITTEN = range(4)
_IS_WHAT = ("between elements", "read-only", "not to be read", "written twice")
PAGE = 16  # bytes: the widest access, which all others divide


class Range(NamedTuple):
    begin: int  # address
    data: NDArray[np.uint8]
    state: NDArray[np.uint8]


class Global:
    """Ranges of addresses. A byte is read or written, never both, so no order of the threads is seen in what they do."""

    def __init__(self, ranges: list[Range]) -> None:
        ranges = sorted(ranges, key=lambda one: one.begin)
        self.begin = np.array([one.begin for one in ranges], "u8")
        self.end = np.array([one.begin + len(one.data) for one in ranges], "u8")
        # Where in the arrays a range's bytes begin, at the same place of a page.
        self.place, size = np.zeros_like(self.begin), 0
        for k, one in enumerate(ranges):
            self.place[k] = size + one.begin % PAGE
            size = -(-(int(self.place[k]) + len(one.data)) // PAGE) * PAGE
        self.data, self.state = np.zeros(size, "u1"), np.zeros(size, "u1")
        for place, one in zip(self.place.tolist(), ranges, strict=True):
            self.data[place : place + len(one.data)] = one.data
            self.state[place : place + len(one.data)] = one.state

    def load(self, address: NDArray, dtype: np.dtype, count: int) -> NDArray:
        """(n, count) numbers from n addresses."""
        place = self._place(address, dtype, count)
        self._expect(READABLE, address, self.state.view(dtype)[place])
        return self.data.view(dtype)[place]

    def store(self, address: NDArray, values: NDArray) -> None:
        """(n, count) numbers to n addresses."""
        dtype = values.dtype
        place = self._place(address, dtype, values.shape[1])
        self._expect(AWAITED, address, self.state.view(dtype)[place])
        if len(np.unique(address)) < len(address):
            raise PtxError("an element is written twice, by one instruction")
        self.state.view(dtype)[place] = _all_bytes(WRITTEN, dtype)
        self.data.view(dtype)[place] = values

    def finish(self) -> None:
        if missing := int((self.state == AWAITED).sum()):
            raise PtxError(f"{missing} bytes are never written")

    def bytes_of(self, begin: int, size: int) -> NDArray[np.uint8]:
        place = int(self.place[np.searchsorted(self.begin, begin)])
        return self.data[place : place + size]

    def _place(self, address: NDArray, dtype: np.dtype, count: int) -> NDArray:
        """Positions in arrays of the dtype. Numbers of one instruction lie side by side, aligned as a whole."""
        size = dtype.itemsize * count
        _check_aligned(address, size)
        k = np.searchsorted(self.begin, address, "right") - 1
        outside = (k < 0) | (address >= self.end[k]) | (self.end[k] - address < size)
        if outside.any():
            raise PtxError(f"{address[outside][0]:#x} is outside of every tensor")
        place = address - self.begin[k] + self.place[k]
        return (place // dtype.itemsize)[:, None] + np.arange(count, dtype="u8")

    def _expect(self, state: int, address: NDArray, found: NDArray) -> None:
        wrong = found != _all_bytes(state, found.dtype)
        if wrong.any():
            first = found[wrong][:1].view("u1")
            what = _IS_WHAT[int(first[first != state][0])]
            raise PtxError(f"the element at {address[wrong.any(1)][0]:#x} is {what}")


class Shared:
    """Memory of each block, in words. Between two barriers a word that a thread writes is no other thread's."""

    NOBODY, SEVERAL = -1, -2

    def __init__(self, blocks: int, size: int) -> None:
        self.data = np.zeros((blocks, size // 4), "u4")
        self.written = np.zeros((blocks, size // 4), bool)
        self.writer, self.reader = np.full((2, blocks, size // 4), self.NOBODY, "i4")  # since the last barrier

    def load(self, block: NDArray, thread: NDArray, address: NDArray, dtype: np.dtype, count: int) -> NDArray:
        """(n, count) numbers from n addresses of n blocks."""
        place, thread = self._place(block, address, dtype.itemsize * count), thread[:, None].astype("i4")
        if not self.written[place].all():
            raise PtxError("a word of shared memory is read before it is written")
        self._expect(self.writer[place], thread, "is read by another thread than has written it")
        self._note(self.reader, place, thread)
        return self.data[place].view(dtype)

    def store(self, block: NDArray, thread: NDArray, address: NDArray, values: NDArray) -> None:
        """(n, count) numbers to n addresses of n blocks. Several threads may write a word, if they write the same."""
        words, thread = values.view("u4"), thread[:, None].astype("i4")
        place = self._place(block, address, values[0].nbytes)
        self._expect(self.reader[place], thread, "is written by another thread than reads it")
        other = np.where(self.data[place] != words, self.writer[place], self.NOBODY)
        self._expect(other, thread, "is written by two threads")
        self.data[place], self.written[place] = words, True
        if (self.data[place] != words).any():
            raise PtxError("a word of shared memory is written by two threads at once")
        self._note(self.writer, place, thread)

    def barrier(self, blocks: NDArray) -> None:
        self.writer[blocks] = self.reader[blocks] = self.NOBODY

    def _place(self, block: NDArray, address: NDArray, size: int) -> tuple[NDArray, NDArray]:
        """Positions of the words of accesses of so many bytes."""
        _check_aligned(address, size)
        if int(address.max()) + size > 4 * self.data.shape[1]:
            raise PtxError("outside of shared memory")
        return block[:, None], (address // 4)[:, None] + np.arange(size // 4)

    def _note(self, who: NDArray, place: tuple[NDArray, NDArray], thread: NDArray) -> None:
        before = who[place]
        who[place] = thread
        several = (who[place] != thread) | ((before != self.NOBODY) & (before != thread))
        who[place] = np.where(several, self.SEVERAL, thread)

    def _expect(self, found: NDArray, thread: NDArray, otherwise: str) -> None:
        if ((found != self.NOBODY) & (found != thread)).any():
            raise PtxError(f"a word of shared memory {otherwise}, without a barrier")


def _all_bytes(state: int, dtype: np.dtype) -> int:
    return int(f"{state:02x}" * dtype.itemsize, 16)


def _check_aligned(address: NDArray, size: int) -> None:
    if (address % size).any():
        raise PtxError(f"an access of {size} bytes at an address that is no multiple of it")
