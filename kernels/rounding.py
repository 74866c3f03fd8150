"""What rounds once on a GPU and not in Triton's interpreter, where Python functions of the same names take its arrays."""

import triton
import triton.language as tl


@triton.jit
def as_like(scalar, t):
    """The scalar as an fp32 tensor of t's shape."""
    return tl.full(t.shape, scalar, tl.float32)


if isinstance(as_like, triton.JITFunction):
    fma = tl.fma

    @triton.jit
    def round_to(value, DTYPE: tl.constexpr):
        """fp32 rounded to nearest even."""
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

    def round_to(value, DTYPE):
        """fp32 rounded to nearest even; the interpreter's own cast to bf16 truncates."""
        if DTYPE != tl.bfloat16:
            return value.to(DTYPE)
        bits = value.handle.data.view("u4")
        data = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("u2")
        return tl.tensor(type(value.handle)(data, DTYPE), tl.block_type(DTYPE, value.shape))
