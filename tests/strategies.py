"""What the property tests draw: laws of every regime, keys, and strided tensors that are boxes of larger ones.

Everything shrinks to small shapes, whole tensors and the plainest law.
"""

import math
from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

# At least one of each regime, bounded and not, centred and not.
LAWS = {
    "3sigma": TruncatedNormal(0.0, 0.02, -0.06, 0.06),
    "default": TruncatedNormal(),
    "off-centre": TruncatedNormal(0.5, 1.0, -1.0, 2.5),
    "mean 100": TruncatedNormal(100.0, 1.0, 98.0, 102.0),
    "4sigma": TruncatedNormal(0.0, 0.02, -0.08, 0.08),
    "100sigma": TruncatedNormal(0.0, 0.02, -2.0, 2.0),
    "normal": Normal(0.0, 0.02),
    "tiny std": TruncatedNormal(0.0, 1e-30, -3e-30, 3e-30),
    "lopsided": TruncatedNormal(0.0, 1.0, -5.0, 2.0),
    "half-normal": TruncatedNormal(0.0, 1.0, 0.0, math.inf),
    "flank": TruncatedNormal(0.0, 1.0, 1.0, math.inf),
    "both flanks": TruncatedNormal(0.0, 1.0, -0.4, 0.45),
    "two to three": TruncatedNormal(0.0, 1.0, 2.0, 3.0),
    "right tail": TruncatedNormal(0.0, 1.0, 3.0, math.inf),
    "left tail": TruncatedNormal(0.0, 1.0, -math.inf, -5.0),
    "far tail": TruncatedNormal(0.0, 1.0, 30.0, 31.0),
    "narrow": TruncatedNormal(0.0, 1.0, 0.5, 0.75),
    "uniform": Uniform(-0.1, 0.1),
    "tiny uniform": Uniform(-1e-36, 3e-37),
    "constant": TruncatedNormal(3.0, 0.0, -1.0, 1.0),
    "two values of bf16": TruncatedNormal(0.0, 1.0, 1.001, 1.02),  # so that many are rounded past a bound, and kept
    "tie of bf16": TruncatedNormal(1.01171875, 0.0, -5.0, 5.0),  # 1 + 3 / 256: up to the even neighbour
    "tie of fp16": TruncatedNormal(1.00048828125, 0.0, -5.0, 5.0),  # 1 + 1 / 2048: down to it
}

laws = st.sampled_from(list(LAWS.values()))
dtypes = st.sampled_from(DTYPES)
words64 = st.integers(0, 2**64 - 1)
keys = st.builds(Key, words64, words64)


@dataclass(frozen=True)
class Memory:
    """A tensor of some shape and strides inside a larger buffer, whose other elements must stay as they are."""

    shape: tuple[int, ...]
    permutation: tuple[int, ...]  # of the dimensions in memory, outermost first
    gaps: tuple[int, ...]  # elements left out behind each dimension
    before: int  # elements of the buffer before the tensor

    def tensors(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """The buffer, all NaN, and the tensor within."""
        stride, strides = 1, [0] * len(self.shape)
        for dim in reversed(self.permutation):
            strides[dim] = stride
            stride = stride * self.shape[dim] + self.gaps[dim]
        buffer = torch.full((self.before + stride + 7,), math.nan, dtype=dtype)
        return buffer, buffer.as_strided(self.shape, strides, self.before)


@st.composite
def memories(draw, max_dims: int = 4, max_size: int = 6, max_elements: int = 900) -> Memory:
    """Mostly small; one dimension may be long enough to straddle a block."""
    shape = draw(st.lists(st.integers(1, max_size), max_size=max_dims))
    if shape and draw(st.booleans()):
        long = draw(st.integers(0, len(shape) - 1))
        shape[long] = max(1, max_elements // max(1, math.prod(shape) // shape[long]))
        shape[long] = draw(st.integers(1, shape[long]))
    dims = list(range(len(shape)))
    return Memory(
        tuple(shape),
        tuple(draw(st.permutations(dims))),
        tuple(draw(st.sampled_from((0, 0, 0, 1, 4))) for _ in dims),
        draw(st.sampled_from((0, 0, 4, 8, 1, 3))),
    )


@st.composite
def shards(draw, shape: tuple[int, ...]) -> LocalShard:
    """A place for a tensor of this shape in a logical tensor, at times one of more than 2**32 elements."""
    sizes, offsets = [], []
    for dim, size in enumerate(shape):
        offset = draw(st.sampled_from((0, 0, 1, 4, 5, 8)))
        rest = draw(st.sampled_from((0, 0, 1, 3, 4)))
        if dim == 0:
            offset += draw(st.sampled_from((0, 0, 2**20 + 2, 2**31 - 2, 2**33 + 1)))
        sizes.append(offset + size + rest)
        offsets.append(offset)
    return LocalShard(tuple(sizes), tuple(offsets))
