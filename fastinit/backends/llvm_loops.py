"""The compiled function of the llvm backend: it fills boxes in memory, each a row of a table, by tiles.

Lanes of a vector are columns, as a rule: elements are made a block at a time, from a row's first group of four on, and
stored straight to memory. Where memory runs along the rows instead, or a row is short, lanes are rows: each has a
counter of its own, and a vector is one column. What memory does not hold as the vector has it, at a box's edges and
where neighbours lie apart, goes through a scratch on the stack.
"""

from typing import Any, NamedTuple

import numpy as np

from fastinit.backends.llvm_ir import F32, F64, I64, U16, U64, Function, Value
from fastinit.backends.llvm_laws import Law, elements
from fastinit.backends.llvm_ops import convert, iota, load, loop, maximum, minimum, select, shuffle, store, when
from fastinit.backends.llvm_words import KEY_BYTES, in_order, lower_halves, philox, write_keys
from fastinit.law.lowered import Regime

# One box: where its first element lies, and its loops (experts, rows, columns) with their steps in elements.
ROW = np.dtype(
    [
        ("address", np.int64),
        ("sizes", np.int64, 3),
        ("strides", np.int64, 3),
        ("global_strides", np.int64, 3),
        ("first_index", np.uint64),
        ("seed", np.uint64),
        ("stream", np.uint64),
    ]
)
MEMORY = {"float32": F32, "float64": F64, "bfloat16": U16, "float16": U16}
_PARTS = 2  # of a block's words: the values of one fit in the registers


class Kind(NamedTuple):
    """What a function is compiled for."""

    regime: Regime
    coefficients: int  # how many
    dtype: str
    lanes_are_rows: bool

    def tile(self, groups: int) -> tuple[int, int]:
        """Rows and columns of a tile, for vectors of so many groups.

        Where lanes are rows it is so narrow that the next one finds the columns' pages and cache lines still at hand.
        """
        return (groups, 256) if self.lanes_are_rows else (1, 4096)


class _Box:
    """A row of the table."""

    def __init__(self, address: Value, size: int) -> None:
        def field(name: str, k: int = 0) -> Value:
            return load(address + (ROW.fields[name][1] + 8 * k), I64)  # type: ignore[index]

        self.address, self.first_index = field("address"), field("first_index")
        self.experts, self.rows, self.columns = (field("sizes", k) for k in range(3))
        # In bytes.
        self.expert_step, self.row_step, self.column_step = (field("strides", k) * size for k in range(3))
        self.global_expert_step, self.global_row_step = (field("global_strides", k) for k in range(2))
        self.seed, self.stream = (convert(field(name), U64) for name in ("seed", "stream"))

    def row(self, expert: Value, i: Value) -> tuple[Value, Value]:
        """Address and global index of a row's first element."""
        return (
            self.address + expert * self.expert_step + i * self.row_step,
            self.first_index + expert * self.global_expert_step + i * self.global_row_step,
        )


class _Fill:
    """What is written for one kind of function."""

    def __init__(self, kind: Kind, groups: int, fused: bool) -> None:
        self.kind, self.groups = kind, groups
        self.function = Function("fill", arguments=6, fused=fused)
        self.memory = MEMORY[kind.dtype]
        self.size = self.memory.bits // 8
        self.keys, self.scratch = self.function.scratch(KEY_BYTES), self.function.scratch(4 * groups * self.size)
        self.zero = self.function.constant(I64, 0)

    def table(self) -> None:
        """From a (row, tile) of the table to another, as of two consecutive pieces of work."""
        table, law, begin_row, begin_tile, end_row, end_tile = self.function.arguments
        self.law = Law(law, self.kind.coefficients)
        height, width = self.kind.tile(self.groups)
        with loop(begin_row, end_row + convert(end_tile > 0, I64)) as k:
            box = _Box(table + k * ROW.itemsize, self.size)
            write_keys(self.keys, box.seed)
            down, across = tiles(box.rows, box.columns, height, width)
            first = select(k.compare("eq", begin_row), begin_tile, 0)
            last = select(k.compare("eq", end_row), end_tile, box.experts * down * across)
            with loop(first, last) as tile:
                expert, rest = tile // (down * across), tile % (down * across)
                if self.kind.lanes_are_rows:
                    self.columns(box, expert, rest % down * height, rest // down * width)
                else:
                    self.line(box, expert, rest // across, rest % across * width)

    def line(self, box: _Box, expert: Value, i: Value, begin: Value) -> None:
        """A tile of one row, which begins so many elements from the beginning of the row's first group."""
        place, index = box.row(expert, i)
        lead, group = index & 3, convert(index, U64) >> 2
        place = place - lead * box.column_step  # of that group
        block = 4 * self.groups
        _, width = self.kind.tile(self.groups)
        end = minimum(begin + width, lead + box.columns)
        lanes = iota(self.function, U64.vector(self.groups))
        with loop(begin, end, block) as k:
            words = in_order(philox(lanes + (group + convert(k >> 2, U64)), box.stream, self.keys))
            whole = box.column_step.compare("eq", self.size) & (k >= lead) & (k + block <= end)
            target = select(whole, place + k * self.size, self.scratch)
            count = block // _PARTS
            for first in range(0, block, count):
                part = shuffle(words, words, range(first, first + count))
                store(elements(part, self.kind.regime, self.law, self.kind.dtype), target + first * self.size)
            with when(whole.compare("eq", 0)), loop(maximum(lead - k, 0), minimum(end - k, block)) as j:
                store(load(self.scratch + j * self.size, self.memory), place + (k + j) * box.column_step)

    def columns(self, box: _Box, expert: Value, top: Value, begin: Value) -> None:
        """A tile of as many rows as there are lanes, and of the columns from ``begin`` on."""
        place, index = box.row(expert, top)
        indices = convert(iota(self.function, I64.vector(self.groups)) * box.global_row_step + index, U64)
        lead, groups = lower_halves(indices & 3), indices >> 2
        height, width = self.kind.tile(self.groups)
        held, end = minimum(box.rows - top, height), minimum(begin + width, box.columns)
        whole = box.row_step.compare("eq", self.size) & held.compare("eq", height)

        def words_of(group: Value) -> list[Value]:
            words = philox(groups + convert(group, U64), box.stream, self.keys)
            return [lower_halves(word) for word in words]

        words = words_of(begin >> 2)
        with loop(begin, end, 4, carried=words) as k:
            # Lanes whose row begins within a group take words of the next one, too.
            following = words_of((k >> 2) + 1)
            both, words[:] = words + following, following
            for j in range(4):
                word = both[j + 3]
                for ahead in range(3):
                    word = select(lead.compare("eq", ahead), both[j + ahead], word)
                aside = self.scratch + j * height * self.size
                target = select(whole & (k + j < end), place + (k + j) * box.column_step, aside)
                store(elements(word, self.kind.regime, self.law, self.kind.dtype), target)
            with when(whole.compare("eq", 0)), loop(k, minimum(k + 4, end)) as column, loop(self.zero, held) as i:
                value = load(self.scratch + ((column - k) * height + i) * self.size, self.memory)
                store(value, place + i * box.row_step + column * box.column_step)


def tiles(rows: Any, columns: Any, height: Any, width: Any) -> tuple[Any, Any]:
    """Tiles down and across; a row may begin within a group, and is then up to three columns wider."""
    return (rows + (height - 1)) // height, (columns + (3 + width - 1)) // width


def fill_function(kind: Kind, groups: int, fused: bool) -> Function:
    """``fill(table, law, begin row, begin tile, end row, end tile)``: addresses and 64-bit integers.

    ``groups`` of four words are made at once, a power of two; ``fused``: whether the processor has an fma.
    """
    fill = _Fill(kind, groups, fused)
    fill.table()
    return fill.function
