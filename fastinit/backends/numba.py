"""numba backend: the CPU's. Compiled loops over tiles, divided among as many threads as torch would use."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastinit.backends import numba_loops as loops
from fastinit.backends.numba_fill import TILE_GROUPS, fill_tiles
from fastinit.distributions import Distribution
from fastinit.fill import Fill
from fastinit.geometry import row_major_strides
from fastinit.layout import Axis, merge_axes
from fastinit.lowered import Clamp, Lowered, Regime
from fastinit.lowering import lower

WIDTH = TILE_GROUPS * 4
TRANSPOSED_ROWS = 16  # of a tile, where memory runs along the rows: 64 bytes of fp32
ELEMENTS_A_THREAD = 2**15  # below twice this, handing work over costs more than it saves
# As which numbers the loops see memory: bf16 and fp16 are rounded with integers, and told apart by the sign.
_MEMORY = {torch.bfloat16: (torch.int16, np.int16), torch.float16: (torch.int16, np.uint16)}
_LAWS: dict[Regime, Any] = {
    Regime.CONSTANT: loops.Constant,
    Regime.UNIFORM: loops.Uniform,
    Regime.CENTRAL: loops.Central,
    Regime.WIDE: loops.Wide,
    Regime.SKEW: loops.Skew,
    Regime.FAR: loops.Far,
    Regime.NARROW: loops.Narrow,
}


def fill_(tensor: Tensor, fill: Fill) -> None:
    """Fill a tensor of any strides; its dimensions merge into three loops or fewer, or else those run from outside."""
    axes = merge_axes(tuple(tensor.shape), tensor.stride(), row_major_strides(fill.shard.global_shape))
    axes = [Axis(1, 0, 0)] * (3 - len(axes)) + axes
    outer, inner = axes[:-3], axes[-3:]
    memory = _memory(tensor)
    law = _law(fill.distribution, str(tensor.dtype).removeprefix("torch."))
    words = _key_words(fill.key.seed, fill.key.stream)
    for turn in product(*(range(axis.size) for axis in outer)):
        offset = sum(k * axis.stride for k, axis in zip(turn, outer, strict=True))
        first = fill.shard.first_index + sum(k * axis.global_stride for k, axis in zip(turn, outer, strict=True))
        _fill_box(memory[offset:], inner, first, words, law)


def _fill_box(memory: Any, axes: list[Axis], first: int, words: tuple[Any, ...], law: tuple[Any, ...]) -> None:
    sizes, strides, global_strides = (tuple(np.int64(n) for n in part) for part in zip(*axes, strict=True))
    height = TRANSPOSED_ROWS if axes[2].stride != 1 and axes[1].size > 1 and axes[1].stride < axes[2].stride else 1
    across, down = -(-(axes[2].size + 3) // WIDTH), -(-axes[1].size // height)
    tiles = axes[0].size * down * across

    def part(begin: int, end: int) -> None:
        buffer = np.empty((height, WIDTH), memory.dtype)
        place = (sizes, strides, global_strides, np.uint64(first))
        fill_tiles(memory, (np.int64(begin), np.int64(end)), buffer, *place, *words, *law)

    threads = min(torch.get_num_threads(), tiles, axes[0].size * axes[1].size * axes[2].size // ELEMENTS_A_THREAD)
    if threads <= 1:
        part(0, tiles)
        return
    bounds = [tiles * k // threads for k in range(threads + 1)]
    others = [_pool(threads - 1).submit(part, bounds[k], bounds[k + 1]) for k in range(1, threads)]
    part(bounds[0], bounds[1])
    for other in others:
        other.result()


def _memory(tensor: Tensor) -> Any:
    """The tensor's memory, from its first element to its last, as a flat array that shares it."""
    span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    flat = tensor.detach().as_strided((span,), (1,))
    if tensor.dtype not in _MEMORY:
        return flat.numpy()
    bits, seen_as = _MEMORY[tensor.dtype]
    return flat.view(bits).numpy().view(seen_as)


@lru_cache(maxsize=4096)
def _law(law: Distribution, dtype: str) -> tuple[Any, ...]:
    """The law, the lowest and the highest value, as the loops take them."""
    constants = lower(law)
    lowest, highest = constants.bounds(dtype)
    clamp = constants.clamp(dtype)
    lowest = lowest if Clamp.BELOW in clamp else -np.inf
    highest = highest if Clamp.ABOVE in clamp else np.inf
    return _as_tuple(constants), np.float32(lowest), np.float32(highest)


def _as_tuple(constants: Lowered) -> Any:
    kind = _LAWS[constants.regime]
    fields: dict[str, Any] = {name: getattr(constants, name) for name in kind._fields}
    for name, value in fields.items():
        if name == "coefficients":
            fields[name] = tuple(map(np.float32, value))
        else:
            fields[name] = np.int64(value) if name == "split" else np.float32(value)
    return kind(**fields)


@lru_cache(maxsize=4096)
def _key_words(seed: int, stream: int) -> tuple[Any, ...]:
    """The ten round keys, and the stream's two words."""
    low, high = seed & 0xFFFFFFFF, seed >> 32
    keys = [((low + k * 0x9E3779B9) % 2**32, (high + k * 0xBB67AE85) % 2**32) for k in range(10)]
    return (
        tuple(np.uint32(word) for pair in keys for word in pair),
        np.uint32(stream & 0xFFFFFFFF),
        np.uint32(stream >> 32),
    )


# Our own threads, as numba's are not safe here: its workqueue layer forbids calls from two Python threads at once, and
# its OpenMP layer a fork after the first call. The loops release the GIL, so plain threads are as fast.
_lock = threading.Lock()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def _pool(workers: int) -> ThreadPoolExecutor:
    """A pool of this process: after a fork the parent's has no threads."""
    with _lock:
        key = (os.getpid(), workers)
        if key not in _pools:
            _pools[key] = ThreadPoolExecutor(workers, thread_name_prefix="fastinit")
        return _pools[key]


def _renew_lock() -> None:
    """A fork may copy a lock that another thread held."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
