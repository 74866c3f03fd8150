"""Fills whose compiled kernels are executed: every law, dtype and layout, over words that are the ends of a law, and where the
counter carries."""

from dataclasses import dataclass
from itertools import product
from math import prod

import torch
from strategies import DTYPES, LAWS, Memory

from fastinit.fill import Fill
from fastinit.law.lowering import lower
from fastinit.shard.geometry import LocalShard, row_major_strides
from fastinit.stream import Key

ARCHES = ("sm_80", "sm_90", "sm_100")
TWOS = "twos"  # no target: gfx942's way through the kernels
MAIN = ("3sigma", "100sigma", "narrow", "uniform", "lopsided")

# Random words never reach the ends, where values are kept inside the bounds, nor the middle, where a sign changes.
EXTREMES = ((0, 0x7FFFFFFF, 0x80000000, 0x80000001), (0x80000001, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000))


@dataclass(frozen=True)
class Part:
    """A tensor and its fill."""

    memory: Memory
    dtype: torch.dtype
    fill: Fill


@dataclass(frozen=True)
class Case:
    parts: tuple[Part, ...]  # more than one: a list, filled at once
    programs: int | None = None  # in place of PROGRAMS, so that each fills several blocks


@dataclass(frozen=True)
class Layout:
    """A tensor of this memory, in a logical one of these sizes beside the first, which is as large as there are indices."""

    memory: Memory
    inner: tuple[int, ...] = ()
    multiple: int = 8  # of which the place along the last dimension is one; odd where it is 1
    programs: int | None = None


# Blocks of a row are 4096 elements or 8192, or fewer where rows are shorter; tiles of a box are at most 4096.
FLAT = Layout(Memory((16424,), (0,), (0,), 8))
LOOP = Layout(Memory((20008,), (0,), (0,), 8), programs=1)
ODD = Layout(Memory((16411,), (0,), (0,), 5), multiple=1)
ROWS = Layout(Memory((3, 2056), (0, 1), (0, 8), 8), (4096,))
SMALL = (
    Layout(Memory((6, 40), (0, 1), (0, 8), 8), (64,)),
    Layout(Memory((5, 301), (0, 1), (0, 3), 1), (301,), multiple=1),
    Layout(Memory((3, 5, 264), (0, 1, 2), (0, 8, 8), 8), (9, 520)),
    Layout(Memory((3, 5, 261), (0, 1, 2), (0, 2, 1), 3), (9, 261), multiple=1),
    Layout(Memory((3, 40, 28), (0, 2, 1), (0, 0, 4), 0), (40, 32)),  # memory runs along the rows
    Layout(Memory((4, 20, 36), (1, 2, 0), (1, 0, 0), 2), (23, 36), multiple=1),  # or along neither rows nor columns
    Layout(Memory((2, 3, 4, 12), (1, 0, 3, 2), (0, 0, 0, 1), 4), (4, 4, 12)),  # more loops than a launch has
)
WHOLE = (  # tiles of which no column is left out
    Layout(Memory((3, 5, 256), (0, 1, 2), (0, 8, 8), 8), (9, 512), multiple=64),
    Layout(Memory((3, 48, 64), (0, 2, 1), (0, 0, 8), 0), (48, 64)),
)
LIST = (
    *(Layout(Memory((size,), (0,), (0,), size % 7), multiple=1) for size in (5, 300, 1027, 2100, 9000)),
    ROWS,
    SMALL[4],  # which no table serves
)


def group_of(words: tuple[int, int, int, int]) -> tuple[Key, int]:
    """A key, and the first index of the group of four that has these words under it: Philox run backwards.

    The counter is (index // 4, stream), and any is some words' under any seed; an index // 4 has but 62 bits.
    """
    low = 0xFFFFFFFF
    for seed in range(2**63 + 5, 2**64):
        c0, c1, c2, c3 = words
        for turn in reversed(range(10)):
            k0, k1 = (seed + turn * 0x9E3779B9) & low, ((seed >> 32) + turn * 0xBB67AE85) & low
            low1, low0 = c1, c3
            before0, before2 = low0 * pow(0xD2511F53, -1, 2**32) & low, low1 * pow(0xCD9E8D57, -1, 2**32) & low
            before1 = c0 ^ k0 ^ before2 * 0xCD9E8D57 >> 32
            before3 = c2 ^ k1 ^ before0 * 0xD2511F53 >> 32
            c0, c1, c2, c3 = before0, before1, before2, before3
        if 2**29 <= c1 < 2**30 - 2**10:  # past index 2**63, with room for a tensor behind it
            return Key(seed, c3 << 32 | c2), (c1 << 32 | c0) * 4
    raise AssertionError


# Around these indices fills lie: past 2**63, with the words of EXTREMES, and where the number of a group grows past 32 bits.
PLACES = (*map(group_of, EXTREMES), (Key(2**63 + 7, 2**62 + 11), 2**34))


def part(layout: Layout, law: str, dtype: torch.dtype, place: tuple[Key, int]) -> Part:
    """A fill that holds the four elements from an index on."""
    key, index = place
    shape, sizes = layout.memory.shape, ((2**64 - 1) // prod(layout.inner), *layout.inner)
    offset, rest = [], index
    for size, whole, stride in zip(shape, sizes, row_major_strides(sizes), strict=True):
        at, rest = divmod(rest, stride)
        offset.append(min(max(at - size // 2, 0), whole - size))
    if sizes[-1] > shape[-1]:
        offset[-1] = offset[-1] // layout.multiple * layout.multiple if layout.multiple > 1 else offset[-1] | 1
    shard = LocalShard(sizes, tuple(offset))
    assert all(_holds(shard, shape, index + k) for k in range(4))
    return Part(layout.memory, dtype, Fill(LAWS[law], key, shard))


def _holds(shard: LocalShard, shape: tuple[int, ...], index: int) -> bool:
    for size, first, stride in zip(shape, shard.global_offset, row_major_strides(shard.global_shape), strict=True):
        at, index = divmod(index, stride)
        if not first <= at < first + size:
            return False
    return True


def cases(arch: str) -> list[Case]:
    """A third of the fills of every law and dtype, of every layout and dtype, and of lists of every dtype."""
    found = []
    for law, (k, dtype) in product(LAWS, enumerate(DTYPES)):
        # A regime has one layout, another one in each dtype, so that its laws share kernels.
        regime = int(lower(LAWS[law]).regime)
        layout, turn = SMALL[(regime + 2 * k) % len(SMALL)], regime + k
        if ARCHES[turn % 3] == arch:
            found += [Case((part(layout, law, dtype, place),)) for place in PLACES]
    for k, dtype in enumerate(DTYPES):
        for turn, layouts in enumerate(((FLAT, LOOP), (ODD,))):
            law = MAIN[(k + turn) % len(MAIN)]
            if ARCHES[(k + turn) % 3] == arch:
                found += [
                    Case((part(layout, law, dtype, place),), layout.programs)
                    for layout in layouts
                    for place in (PLACES[::2] if layout is LOOP else PLACES[:1])
                ]
        for turn, layout in enumerate(WHOLE):
            law = MAIN[(k + turn) % len(MAIN)]
            if ARCHES[(k + turn) % 3] == arch or arch == "sm_100":  # which has two numbers in one instruction
                found.append(Case((part(layout, law, dtype, PLACES[turn]),)))
        law = MAIN[(k + 2) % len(MAIN)]
        if ARCHES[(k + 2) % 3] == arch:
            parts = tuple(part(layout, law, dtype, PLACES[n % 3]) for n, layout in enumerate(LIST))
            found.append(Case(parts, 1 if k % 2 else None))  # in a loop over blocks, or of one block a program
    return found


def of_twos() -> list[Case]:
    """Laws of the regimes whose fmas are done two at a time there, and of those whose are not. Where memory runs along the
    rows, the least of them, as there the compiler takes longest."""
    laws = ("3sigma", "off-centre", "100sigma", "narrow", "uniform", "lopsided", "far tail", "flank")
    wide = [Case((part(SMALL[4 + k], "100sigma", dtype, PLACES[k]),)) for k, dtype in enumerate(DTYPES[:2])]
    return wide + [Case((part(SMALL[k % 7], law, DTYPES[k % 4], PLACES[k % 3]),)) for k, law in enumerate(laws)]


def to_edit() -> dict[str, Case]:
    """Small kernels that have between them all that can be broken in one."""
    fp32, bf16 = torch.float32, torch.bfloat16
    chosen = {
        "rows": (SMALL[0], "3sigma", bf16),  # through shared memory, with a floor of y
        "odd rows": (SMALL[1], "lopsided", fp32),  # split at an integer
        "box": (SMALL[2], "uniform", fp32),  # with stores of vectors
        "odd box": (SMALL[3], "4sigma", fp32),  # with both bounds, and masks
    }
    cases = {name: Case((part(*what, PLACES[0]),)) for name, what in chosen.items()}
    return cases | {"list": Case(tuple(part(layout, "uniform", bf16, PLACES[0]) for layout in LIST[1:3]))}
