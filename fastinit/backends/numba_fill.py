"""The one compiled entry of the numba backend: fill a range of the tiles of a three-dimensional box."""

import zlib
from pathlib import Path

import numpy as np
from numba import njit

from fastinit import quantile_table
from fastinit.backends import numba_loops
from fastinit.backends.numba_loops import rounded, value_of

TILE_GROUPS = 512  # of a tile's rows: a buffer of 2048 elements stays in the first-level cache
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)


@njit(inline="always")
def fill_groups(buffer, groups, first_group, keys, stream_low, stream_high, law, lowest, highest):
    """The elements of consecutive groups of four, from the beginning of the buffer on."""
    element = buffer[0]
    for k in range(groups):
        group = first_group + np.uint64(k)
        c0, c1, c2, c3 = np.uint32(group & LOW), np.uint32(group >> HALF), stream_low, stream_high
        for i in range(10):
            p, q = np.uint64(c0) * M0, np.uint64(c2) * M1
            c0, c1, c2, c3 = (
                np.uint32(q >> HALF) ^ c1 ^ keys[2 * i],
                np.uint32(q & LOW),
                np.uint32(p >> HALF) ^ c3 ^ keys[2 * i + 1],
                np.uint32(p & LOW),
            )
        v0, v1 = value_of(np.int32(c0), law), value_of(np.int32(c1), law)
        v2, v3 = value_of(np.int32(c2), law), value_of(np.int32(c3), law)
        buffer[4 * k] = rounded(min(max(v0, lowest), highest), element)
        buffer[4 * k + 1] = rounded(min(max(v1, lowest), highest), element)
        buffer[4 * k + 2] = rounded(min(max(v2, lowest), highest), element)
        buffer[4 * k + 3] = rounded(min(max(v3, lowest), highest), element)


def _compiled(sources: int):
    """``fill_tiles``. numba caches it by this file and by what it closes over; so it closes over the other files."""

    def fill_tiles(
        memory, tiles, buffer,  # 1-D memory from the first element on; (first, last) tile; (rows, elements) scratch
        sizes, strides, global_strides, first_index,  # of the box: experts, rows, columns
        keys, stream_low, stream_high,  # the ten round keys, two words each; uint32
        law, lowest, highest,
    ):  # fmt: skip
        """A tile is ``buffer.shape[0]`` rows of TILE_GROUPS groups; it is computed in the buffer, then copied out."""
        _ = sources
        height, width = buffer.shape[0], np.int64(TILE_GROUPS * 4)
        columns, column_stride = sizes[2], strides[2]
        across = (columns + 3 + width - 1) // width  # + 3: a row may begin within a group
        down = (sizes[1] + height - 1) // height
        for tile in range(tiles[0], tiles[1]):
            expert, row = tile // (across * down), tile // across % down * height
            rows = min(height, sizes[1] - row)
            begin = tile % across * width  # in elements from the beginning of the row's first group
            place = expert * strides[0] + row * strides[1]
            first = first_index + np.uint64(expert * global_strides[0] + row * global_strides[1])
            for i in range(rows):
                index = first + np.uint64(i * global_strides[1])
                lead = np.int64(index & np.uint64(3))
                end = min(begin + width, lead + columns)
                if end <= begin:
                    continue
                groups = (end - begin + 3) // 4
                line = buffer[i]
                fill_groups(
                    line, groups, (index >> np.uint64(2)) + np.uint64(begin // 4),
                    keys, stream_low, stream_high, law, lowest, highest,
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
                    for i in range(rows):
                        lead = np.int64((first + np.uint64(i * global_strides[1])) & np.uint64(3))
                        k = column + lead - begin
                        if 0 <= k < width:
                            memory[place + i * strides[1] + column * column_stride] = buffer[i, k]

    try:
        return njit(nogil=True, error_model="numpy", cache=True)(fill_tiles)
    except RuntimeError:  # no folder can be written: each process compiles for itself
        return njit(nogil=True, error_model="numpy")(fill_tiles)


_SOURCES = b"".join(Path(module.__file__).read_bytes() for module in (numba_loops, quantile_table))
fill_tiles = _compiled(zlib.crc32(_SOURCES))
