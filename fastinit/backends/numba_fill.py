"""The one compiled entry of the numba backend: fill the rows of a table, each a three-dimensional box in memory."""

import zlib
from pathlib import Path

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

from fastinit.backends import numba_loops
from fastinit.backends.numba_loops import rounded, value_of
from fastinit.law import quantile_table

# One box: where its first element lies, and its loops (experts, rows, columns) with their steps in elements.
ROW = np.dtype(
    [
        ("address", np.int64),
        ("sizes", np.int64, 3),
        ("strides", np.int64, 3),
        ("global_strides", np.int64, 3),
        ("height", np.int64),  # rows of a tile
        ("first_index", np.uint64),
        ("seed", np.uint64),
        ("stream", np.uint64),
    ]
)
TILE_GROUPS = 512  # of a tile's rows: a buffer of 2048 elements stays in the first-level cache
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)


@intrinsic
def pointer_to(typing, address, element):
    """An address as a pointer to elements like this one."""
    pointer = types.CPointer(element)
    return pointer(types.int64, element), lambda context, builder, _, args: builder.inttoptr(
        args[0], context.get_value_type(pointer)
    )


@njit(inline="always")
def fill_groups(buffer, groups, first_group, seed_low, seed_high, stream_low, stream_high, law, lowest, highest):
    """The elements of consecutive groups of four, from the beginning of the buffer on."""
    element = buffer[0]
    for k in range(groups):
        group = first_group + np.uint64(k)
        c0, c1, c2, c3 = np.uint32(group & LOW), np.uint32(group >> HALF), stream_low, stream_high
        k0, k1 = seed_low, seed_high
        for _ in range(10):
            p, q = np.uint64(c0) * M0, np.uint64(c2) * M1
            c0, c1, c2, c3 = (
                np.uint32(q >> HALF) ^ c1 ^ k0,
                np.uint32(q & LOW),
                np.uint32(p >> HALF) ^ c3 ^ k1,
                np.uint32(p & LOW),
            )
            k0, k1 = np.uint32(k0 + W0), np.uint32(k1 + W1)
        v0, v1 = value_of(np.int32(c0), law), value_of(np.int32(c1), law)
        v2, v3 = value_of(np.int32(c2), law), value_of(np.int32(c3), law)
        buffer[4 * k] = rounded(min(max(v0, lowest), highest), element)
        buffer[4 * k + 1] = rounded(min(max(v1, lowest), highest), element)
        buffer[4 * k + 2] = rounded(min(max(v2, lowest), highest), element)
        buffer[4 * k + 3] = rounded(min(max(v3, lowest), highest), element)


@njit(error_model="numpy")
def fill_tiles(row, tiles, buffer, law, lowest, highest):
    """Fill the tiles ``range(*tiles)`` of a box. A tile is computed in the buffer, then copied out."""
    experts, rows, columns = row.sizes[0], row.sizes[1], row.sizes[2]
    expert_stride, row_stride, column_stride = row.strides[0], row.strides[1], row.strides[2]
    global_expert_stride, global_row_stride = row.global_strides[0], row.global_strides[1]
    seed_low, seed_high = np.uint32(row.seed & LOW), np.uint32(row.seed >> HALF)
    stream_low, stream_high = np.uint32(row.stream & LOW), np.uint32(row.stream >> HALF)
    height, width = row.height, np.int64(TILE_GROUPS * 4)
    span = 1 + (experts - 1) * expert_stride + (rows - 1) * row_stride + (columns - 1) * column_stride
    memory = carray(pointer_to(row.address, buffer[0, 0]), (span,))
    across = (columns + 3 + width - 1) // width  # + 3: a row may begin within a group
    down = (rows + height - 1) // height
    for tile in range(tiles[0], tiles[1]):
        expert, top = tile // (across * down), tile // across % down * height
        held = min(height, rows - top)
        begin = tile % across * width  # in elements from the beginning of the row's first group
        place = expert * expert_stride + top * row_stride
        first = row.first_index + np.uint64(expert * global_expert_stride + top * global_row_stride)
        for i in range(held):
            index = first + np.uint64(i * global_row_stride)
            lead = np.int64(index & np.uint64(3))
            end = min(begin + width, lead + columns)
            if end <= begin:
                continue
            groups = (end - begin + 3) // 4
            line = buffer[i]
            fill_groups(
                line, groups, (index >> np.uint64(2)) + np.uint64(begin // 4),
                seed_low, seed_high, stream_low, stream_high, law, lowest, highest,
            )  # fmt: skip
            low, high = max(lead - begin, 0), end - begin
            if height == 1 and column_stride == 1:
                target = place + begin - lead
                for k in range(low, high):
                    memory[target + k] = line[k]
            elif height == 1:
                for k in range(low, high):
                    memory[place + (begin - lead + k) * column_stride] = line[k]
        if height > 1:  # memory runs along the rows: neighbours in memory are written together
            for column in range(max(begin - 3, 0), min(begin + width, columns)):
                for i in range(held):
                    lead = np.int64((first + np.uint64(i * global_row_stride)) & np.uint64(3))
                    k = column + lead - begin
                    if 0 <= k < width:
                        memory[place + i * row_stride + column * column_stride] = buffer[i, k]


@njit(error_model="numpy")
def tiles_of(row):
    """How many tiles a box has: a tile is ``height`` rows of TILE_GROUPS groups."""
    width = np.int64(TILE_GROUPS * 4)
    across = (row.sizes[2] + 3 + width - 1) // width
    return row.sizes[0] * ((row.sizes[1] + row.height - 1) // row.height) * across


def _compiled(sources: int):
    """``fill_table``. numba caches it by this file and by what it closes over; so it closes over the other files."""

    def fill_table(
        table, begin, end,  # ROWs; from which (row, tile) to which
        buffer,  # scratch of as many rows as the highest tile, of what memory holds
        law, lowest, highest,
    ):  # fmt: skip
        """Fill consecutive boxes, the first from a tile on, the last up to one."""
        _ = sources
        for k in range(begin[0], min(end[0] + 1, len(table))):
            first = begin[1] if k == begin[0] else 0
            last = end[1] if k == end[0] else tiles_of(table[k])
            fill_tiles(table[k], (first, last), buffer, law, lowest, highest)

    try:
        return njit(nogil=True, error_model="numpy", cache=True)(fill_table)
    except RuntimeError:  # no folder can be written: each process compiles for itself
        return njit(nogil=True, error_model="numpy")(fill_table)


_SOURCES = b"".join(Path(module.__file__).read_bytes() for module in (numba_loops, quantile_table))
fill_table = _compiled(zlib.crc32(_SOURCES))
