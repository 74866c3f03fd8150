"""What rounds once on a GPU and not in Triton's interpreter, where Python functions of the same names take its arrays."""

import triton
import triton.language as tl
from triton.language.extra.cuda import num_threads
from triton.language.target_info import cuda_capability_geq, is_hip, is_hip_cdna3, is_hip_cdna4
from triton.runtime.jit import constexpr_function


@triton.jit
def as_like(scalar, t):
    """The scalar as an fp32 tensor of t's shape."""
    return tl.full(t.shape, scalar, tl.float32)


@constexpr_function
def has_twos():
    """Whether one instruction does two fmas of values that lie side by side in registers, as on gfx942 and gfx950."""
    return is_hip_cdna3() or is_hip_cdna4()


# That instruction, and where its operands are: in vector registers, each of 64 bits.
TWO_FMAS = tl.constexpr("v_pk_fma_f32 $0, $1, $2, $3")
IN_VECTOR_REGISTERS = tl.constexpr("=v,v,v,v")


@constexpr_function
def in_pairs(last, numel, threads):
    """Whether one instruction does two of the fmas of a thread: of tensors whose last dimension is 2, where there are twos;
    on sm_100 and sm_103, of any two of its elements."""
    if has_twos():
        return last == 2
    return cuda_capability_geq(10) and not cuda_capability_geq(11) and numel >= 2 * threads


if isinstance(as_like, triton.JITFunction):

    @triton.jit
    def fma(x, y, z):
        """x * y + z, rounded once."""
        if not in_pairs(x.shape[-1], x.numel, num_threads()):
            return tl.fma(x, y, z)
        elif has_twos():
            both = tl.inline_asm_elementwise(
                TWO_FMAS, IN_VECTOR_REGISTERS, [both_of(x), both_of(y), both_of(z)],
                dtype=tl.uint64, is_pure=True, pack=1,
            )  # fmt: skip
            low, high = both.to(tl.uint32), (both >> 32).to(tl.uint32)
            return tl.join(low, high).to(tl.float32, bitcast=True)
        else:
            return tl.inline_asm_elementwise(
                """
                {
                .reg .b64 %pair<3>;
                mov.b64 %pair0, {$2, $3};
                mov.b64 %pair1, {$4, $5};
                mov.b64 %pair2, {$6, $7};
                fma.rn.f32x2 %pair0, %pair0, %pair1, %pair2;
                mov.b64 {$0, $1}, %pair0;
                }
                """,
                "=r,=r,r,r,r,r,r,r", [x, y, z], dtype=tl.float32, is_pure=True, pack=2,
            )  # fmt: skip

    @triton.jit
    def both_of(t):
        """The bits of two values, the first one's low: a pair of registers, which nothing is moved for."""
        low, high = tl.split(t.to(tl.uint32, bitcast=True))
        return low.to(tl.uint64) | high.to(tl.uint64) << 32

    @triton.jit
    def both_signs(t, slope, offset):
        """The line at t, and its negative: of a pair no sign is turned for free."""
        line = fma(t, as_like(slope, t), as_like(offset, t))
        if in_pairs(t.shape[-1], t.numel, num_threads()):
            return line, fma(t, as_like(-slope, t), as_like(-offset, t))
        else:
            return line, line * -1.0

    @triton.jit
    def round_to(value, DTYPE: tl.constexpr):
        """fp32 rounded to nearest even."""
        if is_hip() and DTYPE == tl.float16:
            # Nothing is done to it, but LLVM does not see that, and makes no v_fma_mixlo_f16 of an fma and its rounding, of
            # which no manual says that it rounds to fp32 first.
            value = tl.inline_asm_elementwise("", "=v,0", [value], dtype=tl.float32, is_pure=True, pack=1)
        return value.to(DTYPE)

else:

    def fma(x, y, z):
        """x * y + z, rounded once; the interpreter's own rounds the product, too."""
        # The product is exact in fp64; the sum is rounded to odd there, which a second rounding cannot spoil.
        product = x.handle.data.astype("f8") * y.handle.data.astype("f8")
        addend = z.handle.data.astype("f8")
        total = product + addend
        back = total - product
        error = (product - (total - back)) + (addend - back)
        bits = total.view("i8")
        away = 2 * ((error > 0) == (total > 0)) - 1
        bits = bits + away * ((error != 0) & (bits % 2 == 0))
        return tl.tensor(type(x.handle)(bits.view("f8").astype("f4"), tl.float32), x.type)

    def both_signs(t, slope, offset):
        line = fma(t, as_like(slope, t), as_like(offset, t))
        return line, -line

    def round_to(value, DTYPE):
        """fp32 rounded to nearest even; the interpreter's own cast to bf16 truncates."""
        if DTYPE != tl.bfloat16:
            return value.to(DTYPE)
        bits = value.handle.data.view("u4")
        data = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("u2")
        return tl.tensor(type(value.handle)(data, DTYPE), tl.block_type(DTYPE, value.shape))
