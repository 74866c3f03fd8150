"""The executable specification: the value contract in eager torch, exact on any CPU, and slow.

>>> import torch
>>> philox4x32(torch.zeros(4, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
tensor([1713891541, 3781805453, 3159862348, 2600524760])

It works in chunks and takes at most 64 MiB above the tensor, whatever its size.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fastinit.fill import Fill, Fills
from fastinit.law.lowered import Lowered, Regime
from fastinit.law.quantile_table import LOG_BUMP, LOG_RATIO, SKEW_CENTRE, SKEW_LOG_RATIO, SKEW_Y_STEP, WIDE_Y_STEP
from fastinit.shard.geometry import LocalShard, is_one_run, row_major_strides
from fastinit.shard.storage import write
from fastinit.stream import Key

CHUNK = 2**16  # elements; large enough to amortise an op's fixed cost, small enough for the cache
_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox4x32(counter: Tensor, key: Tensor, rounds: int = 10) -> Tensor:
    """Philox4x32 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), as in Random123.

    >>> philox4x32(torch.zeros(4, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)).tolist()
    [1713891541, 3781805453, 3159862348, 2600524760]

    ``counter`` is (..., 4) and ``key`` (..., 2), words as int64 in [0, 2**32), low words first; they broadcast. The
    result is (..., 4) words as int64 in [0, 2**32).
    """
    for name, words, size in (("counter", counter, 4), ("key", key, 2)):
        if words.dtype != torch.int64 or words.ndim == 0 or words.shape[-1] != size:
            raise ValueError(
                f"{name}: expected int64 of shape (..., {size}), got {words.dtype} of {tuple(words.shape)}"
            )
    return torch.stack(_philox(counter.unbind(-1), key.unbind(-1), rounds), dim=-1)


def _philox(counter: Sequence[Tensor], key: Sequence[Tensor], rounds: int = 10) -> list[Tensor]:
    """The same with the words apart, which is faster."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(rounds):
        # The low 64 bits of each product, as int64 wraps; only what is multiplied next must be masked to 32 bits.
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = ((product1 >> 32) ^ (c1 ^ k0)) & _LOW
        c2 = ((product0 >> 32) ^ (c3 ^ k1)) & _LOW
        c1, c3 = product1, product0
        k0, k1 = k0 + _WEYL[0] & _LOW, k1 + _WEYL[1] & _LOW
    return list(torch.broadcast_tensors(c0, c1 & _LOW, c2, c3 & _LOW))


def words_of_run(first: int, count: int, key: Key) -> Tensor:
    """The words of elements ``first``, ..., ``first + count - 1``: (count,) int64 in [0, 2**32)."""
    first_group = first // 4
    groups = torch.arange((first + count + 3) // 4 - first_group, device="cpu")
    return _words_of_groups(groups, first_group, key).reshape(-1)[first % 4 : first % 4 + count]


def words_at(indices: Tensor, base: int, key: Key) -> Tensor:
    """The words of the elements ``base + indices``: same shape, int64 in [0, 2**32). Indices past 2**63 have wrapped around."""
    shifted = indices + base % 4
    return _words_of_groups(shifted >> 2 & (2**62 - 1), base // 4, key).gather(-1, (shifted & 3)[..., None])[..., 0]


def _words_of_groups(groups: Tensor, base: int, key: Key) -> Tensor:
    """(..., 4) words of the groups ``base + groups``; the sum is taken in two halves, as int64 has only 63 bits."""
    low = groups + (base & _LOW)
    high = (low >> 32) + (base >> 32)
    stream, seed = (_two_words(number) for number in (key.stream, key.seed))
    return torch.stack(_philox((low & _LOW, high, *stream), seed), dim=-1)


def _two_words(number: int) -> tuple[Tensor, Tensor]:
    """The low and the high half of 64 bits."""
    return torch.tensor(number & _LOW, device="cpu"), torch.tensor(number >> 32, device="cpu")


def fma(x: Tensor, y: Tensor | float, z: Tensor | float) -> Tensor:
    """fp32 ``x * y + z``, rounded once, to nearest even. All tensors are fp64 and hold fp32 values.

    >>> fma(torch.tensor(1 + 2.0**-23, dtype=torch.float64), 1 - 2.0**-23, -1.0).item() == -(2.0**-46)
    True

    fp64 holds the product exactly; the sum is rounded to fp64 and then to fp32. The second rounding goes wrong only when
    the first one landed on the midpoint of two fp32 values, or below fp32's normal range: both are detected.
    """
    addend = z if isinstance(z, Tensor) else torch.tensor(z, dtype=torch.float64, device="cpu")
    if isinstance(y, Tensor):
        total = torch.addcmul(addend, x, y)
    else:
        total = (x * y).add_(addend)
    rounded = total.float()
    off_midpoint = (total.view(torch.int64) & 0x1FFFFFFF).bitwise_xor_(0x10000000)
    if off_midpoint.count_nonzero() < total.numel() or rounded.abs().amin() < 2.0**-126:
        at = (off_midpoint == 0) | (rounded.abs() < 2.0**-126)
        product = (x * y).expand_as(total)[at]
        rounded[at] = _round_to_odd(product, addend.expand_as(total)[at], total[at]).float()
    return rounded.double()


def _round_to_odd(product: Tensor, addend: Tensor, total: Tensor) -> Tensor:
    """``product + addend`` rounded to odd, given its rounding to nearest: safe to round once more (Boldo-Melquiond 2008)."""
    back = total - product
    error = (product - (total - back)) + (addend - back)  # Knuth's two-sum: total + error is exact
    bits = total.view(torch.int64)
    toward = torch.where((error > 0) == (total > 0), 1, -1)
    return torch.where((error != 0) & (bits & 1 == 0), bits + toward, bits).view(torch.float64)


def _polynomial(coefficients: tuple[float, ...], t: Tensor) -> Tensor:
    """Horner's scheme; the first power's fma takes the leading coefficient as it is."""
    accumulator = fma(t, coefficients[-1], coefficients[-2])
    for coefficient in coefficients[-3::-1]:
        accumulator = fma(accumulator, t, coefficient)
    return accumulator


def _polynomial_with_y(coefficients: tuple[float, ...], inner: Tensor, y: Tensor, t: Tensor, y_step: int) -> Tensor:
    """Horner's scheme, of which one step, counted from the last one, which is step 1, multiplies by y, those before it by
    ``inner``, the rest by t."""
    accumulator = fma(inner, coefficients[-1], coefficients[-2])
    for step in range(len(coefficients) - 2, 0, -1):
        factor = inner if step > y_step else y if step == y_step else t
        accumulator = fma(accumulator, factor, coefficients[step - 1])
    return accumulator


def _raw_log2(y: Tensor, bump: tuple[float, ...], line: Callable[[Tensor], Tensor]) -> Tensor:
    """The bits of y are a log2 that lacks a bump of the mantissa; ``line`` makes of them an fp32 number in the bump's units."""
    bits = y.float().view(torch.int32)
    mantissa = ((bits & 0x7FFFFF) | 0x3F800000).view(torch.float32).double()
    return fma(mantissa, _polynomial(bump, mantissa), line(bits))


def _log2(y: Tensor, origin: float, ratio: tuple[float, ...]) -> Tensor:
    """log2(y) + origin, accurate near y = 1: the mantissa is taken in [3/4, 3/2)."""
    bits = y.float().view(torch.int32)
    exponent = (bits - 0x3F400000) >> 23
    fraction = (bits - (exponent << 23)).view(torch.float32).double() - 1
    return fma(fraction, _polynomial(ratio, fraction), _fp32(exponent + _double(origin)))


def values_of(words: Tensor, law: Lowered) -> Tensor:
    """The fp32 values of int64 words in [0, 2**32), before the bounds; see lowering.py for the regimes."""
    if law.regime is Regime.CONSTANT:
        return torch.full(words.shape, law.shift, device=words.device)
    return _values(words, law).float()


def _values(words: Tensor, law: Lowered) -> Tensor:
    r = words - ((words >> 31) << 32)  # the word as a signed 32-bit integer
    match law.regime:
        case Regime.UNIFORM:
            return fma(_fp32(r + 2**31), law.scale, law.offset)
        case Regime.CENTRAL:
            x = fma(_fp32(r), law.scale, law.offset)
            t = _raw_log2(fma(-x, x, law.origin), tuple(c * 2.0**23 for c in LOG_BUMP), _fp32)
            return fma(x, _polynomial(law.coefficients, t), law.shift)
        case Regime.WIDE:
            right = r >= 0
            tail = fma(_fp32(_distance(r, right)), law.scale, law.offset)
            y = fma(-tail, tail, tail)
            t = _raw_log2(y, LOG_BUMP, lambda bits: fma(_fp32(bits), 2.0**-23, law.origin))
            factor = _polynomial_with_y(law.coefficients, t, y, t, WIDE_Y_STEP)
            return fma(_from_tail(tail, right, law), factor, law.shift)
        case Regime.SKEW | Regime.FLANK:
            right = r >= law.split
            offset = torch.where(right, _double(law.offset_right), _double(law.offset))
            tail = fma(_fp32(_distance(r, right)), law.scale, offset)
            y = fma(-tail, tail, tail)
            if law.regime is Regime.FLANK:
                factor = _polynomial(law.coefficients, _log2(y, law.origin, LOG_RATIO))
            else:
                log = _log2(y, law.origin, SKEW_LOG_RATIO)
                factor = _polynomial_with_y(law.coefficients, log, y, _fp32(log - SKEW_CENTRE), SKEW_Y_STEP)
            return fma(_from_tail(tail, right, law), factor, law.shift)
        case Regime.FAR:
            v = fma(_fp32(_distance(r, r >= law.split)), law.scale, law.offset)
            return _fp32(_polynomial(law.coefficients, _log2(v, law.origin, LOG_RATIO)) + law.shift)
        case Regime.NARROW:
            t = fma(_fp32(r), 2.0**-31, 2.0**-32)
            return _fp32(_polynomial(law.coefficients, t) + law.shift)
    raise AssertionError(law.regime)


def _fp32(numbers: Tensor) -> Tensor:
    """Rounded to fp32, held in fp64."""
    return numbers.float().double()


def _double(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, device="cpu")


def _distance(r: Tensor, right: Tensor) -> Tensor:
    """Words between r and its end of the law, counted from the right end where ``right``."""
    return torch.where(right, 2**31 - 1 - r, r + 2**31)


def _from_tail(tail: Tensor, right: Tensor, law: Lowered) -> Tensor:
    """1 - 2 tail in units of the std, negative in the left tail."""
    x = fma(tail, -2 * law.gain, law.gain)
    return torch.where(right, x, -x)


def fill_(tensor: Tensor, fill: Fill) -> None:
    """Fill a tensor of any strides, a box at a time."""
    law = fill.lowered
    lowest, highest = law.bounds(str(tensor.dtype).removeprefix("torch."))
    write(tensor, lambda memory: _fill_box(memory, fill.shard, fill.key, law, lowest, highest))


def fill_many_(tensors: Sequence[Tensor], fills: Fills) -> None:
    """Fill one after the other."""
    for k, tensor in enumerate(tensors):
        fill_(tensor, fills.one(k))


def _fill_box(tensor: Tensor, shard: LocalShard, key: Key, law: Lowered, lowest: float, highest: float) -> None:
    if tensor.numel() > CHUNK:
        dim = next(d for d, size in enumerate(tensor.shape) if size > 1)
        rows = max(1, CHUNK // (tensor.numel() // tensor.shape[dim]))
        for start in range(0, tensor.shape[dim], rows):
            part = tensor.narrow(dim, start, min(rows, tensor.shape[dim] - start))
            _fill_box(part, shard.shifted(dim, start), key, law, lowest, highest)
        return
    if is_one_run(tensor.shape, shard.global_shape):
        words = words_of_run(shard.first_index, tensor.numel(), key).view(tensor.shape)
    else:
        words = words_at(_offsets(tensor.shape, row_major_strides(shard.global_shape)), shard.first_index, key)
    values = values_of(words, law)
    tensor.copy_(values.clamp_(lowest, highest))


def _offsets(shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
    """Global index of each element of a box, from the box's first element, modulo 2**64."""
    offsets = torch.zeros((), dtype=torch.int64, device="cpu")
    for size, stride in zip(shape, strides, strict=True):
        offsets = offsets[..., None] + (torch.arange(size, device="cpu") * stride if size > 1 else 0)
    return offsets
