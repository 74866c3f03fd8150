"""fill_rows for bf16 with both bounds kept by one instruction for two elements, ``min.xorsign.abs.bf16x2`` (sm_86 and later):
the smaller magnitude, with the sign of the value where the bound is positive. For laws that are symmetric about 0."""

from dataclasses import replace

import triton
import triton.language as tl

from fastinit.backends.triton_launch import Launch
from fastinit.kernels.blocks import first_products, unit_values
from fastinit.kernels.law import Law
from fastinit.kernels.linear import DYNAMIC
from fastinit.law.distributions import Distribution
from fastinit.law.lowering import lower


@triton.jit(do_not_specialize=DYNAMIC)
def fill_clamped(
    out_ptr, row_pitch: tl.int64,
    first_index: tl.uint64, global_row_pitch: tl.uint64,
    columns: tl.int64, programs_per_row: tl.int32, log2_blocks: tl.int32,
    k0: tl.uint32, k1: tl.uint32, s0: tl.uint32, s1: tl.uint32,
    numbers, split: tl.int32, bounds, coefficients,
    REGIME: tl.constexpr, CLAMP: tl.constexpr, SIDE: tl.constexpr, LOG: tl.constexpr,
    BOUND: tl.constexpr,
    VECTOR: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """The arguments of fill_rows, and the bound. The first index is a multiple of a program's blocks, the columns of one."""
    SIZE: tl.constexpr = UNITS * VECTOR
    key = (s0.to(tl.uint32), s1.to(tl.uint32), k0.to(tl.uint32), k1.to(tl.uint32))
    block = tl.program_id(0) << log2_blocks
    unit = tl.arange(0, UNITS).to(tl.uint32) * (VECTOR // 4)
    element = tl.arange(0, SIZE)
    group = (first_index.to(tl.uint64) // SIZE + block.to(tl.uint64)) * (SIZE // 4)
    counter, counter_high = group.to(tl.uint32), (group >> 32).to(tl.uint32)
    for _ in range(1 << log2_blocks):
        values = unit_values(
            first_products(counter, unit, True, VECTOR), counter_high,
            key, Law(REGIME, CLAMP, SIDE, LOG, *numbers, split.to(tl.int32), *bounds, coefficients), VECTOR,
        )  # fmt: skip
        values = values.reshape(SIZE).to(tl.bfloat16)
        values = tl.inline_asm_elementwise(
            "min.xorsign.abs.bf16x2 $0, $1, $2;", "=r,r,r", [values, tl.full(values.shape, BOUND, tl.bfloat16)],
            dtype=tl.bfloat16, is_pure=True, pack=2,
        )  # fmt: skip
        if block.to(tl.int64) * SIZE < columns:
            tl.store(out_ptr + block.to(tl.int64) * SIZE + element, values)
        block += 1
        counter += SIZE // 4


def instead_of(launch: Launch, law: Distribution) -> Launch:
    """The launch of fill_rows that clamps so."""
    lowest, highest = lower(law).bounds("bfloat16")
    options = {name: value for name, value in launch.options.items() if name not in ("FLAT", "ALIGNED")}
    assert lowest == -highest
    return replace(launch, kernel=fill_clamped, options=options | dict(CLAMP=0, BOUND=highest))
