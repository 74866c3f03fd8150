"""trunc_normal_, normal_, uniform_: the laws themselves, from (seed, parameter name, global index) alone."""

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor

from fastinit import op
from fastinit.generator import default_generator, draw_key
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal, Uniform
from fastinit.law.lowering import lower
from fastinit.shard.described import describe
from fastinit.shard.geometry import LocalShard
from fastinit.shard.storage import is_fake, is_traced
from fastinit.stream import Key

_Law = TypeVar("_Law", TruncatedNormal, Normal, Uniform)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
    *,
    key: Key | None = None,
    shard: LocalShard | None = None,
) -> Tensor:
    """Fill the tensor, in place, with a normal that is conditioned to lie in [a, b].

    >>> w = torch.empty(8, 2048, 1024, dtype=torch.bfloat16)
    >>> w = trunc_normal_(w, std=0.02, a=-0.06, b=0.06, key=Key.of("blocks.0.experts.w1", seed=0))

    Args:
        tensor: fp32, bf16, fp16 or fp64; any shape, strides and device; a plain tensor, a ``Parameter`` or a ``DTensor``,
            of which each rank fills its own shard. A meta tensor is returned untouched, and so is a fake one: no
            generator moves on for them.
        mean, std: of the normal before truncation, in the units of the tensor. ``std=0`` fills ``clamp(mean, a, b)``.
        a, b: the closed interval; absolute values, as in ``torch.nn.init``, not multiples of ``std``. Both may be infinite,
            and may lie on one side of the mean. No value is past a bound, in any dtype.
        generator: where the key comes from when none is given: the generator is read and moved on. Without one it is the
            default generator of the (local) tensor's device.
        key: seed and stream of the values; the same key and global index give the same bits everywhere.
        shard: where a plain tensor lies in a larger logical tensor; without it, it is the whole.

    Returns:
        The same tensor.

    Raises:
        TypeError: not a tensor, a dtype that is none of the four, one that is not dense or has no shape yet, or an
            argument of the wrong type.
        ValueError: a non-finite mean or std, a negative std, a > b, no value of the dtype in [a, b], overlapping memory,
            a view that is negated when it is read, a shard that does not fit, a key and a generator at once, a
            ``DTensor`` with a ``Partial`` placement.

    The value is the law's quantile at a Philox word, correct to 1e-6 in the distribution function, whatever the bounds
    (docs/law.md); one fp32 value, rounded once to the dtype.
    """
    law = made(TruncatedNormal, mean, std, a, b)
    if law.mean < law.a - 2 * law.std or law.mean > law.b + 2 * law.std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in fastinit.trunc_normal_. The values follow the law all the same; "
            "torch.nn.init.trunc_normal_ takes absolute bounds, not multiples of std.",
            stacklevel=2,
        )
    return fill_(tensor, law, generator=generator, key=key, shard=shard)


def trunc_normal_tf_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
    *,
    key: Key | None = None,
    shard: LocalShard | None = None,
) -> Tensor:
    """Fill the tensor, in place, with a normal that is conditioned to lie in [mean + a std, mean + b std].

    >>> w = trunc_normal_tf_(torch.empty(2048, 1024), std=0.02, a=-3.0, b=3.0, key=Key.of("lm_head.weight", seed=0))

    It is :func:`trunc_normal_` with bounds in units of std, as TensorFlow, JAX and timm (by this name) have them, and has its
    arguments, result and errors. With ``std=0`` all values are the mean.
    """
    normal, unit = made(Normal, mean, std), made(TruncatedNormal, 0.0, 1.0, a, b)
    bounds = (normal.mean + normal.std * bound if normal.std else normal.mean for bound in (unit.a, unit.b))
    return fill_(
        tensor, made(TruncatedNormal, normal.mean, normal.std, *bounds), generator=generator, key=key, shard=shard
    )


def normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    generator: Generator | None = None,
    *,
    key: Key | None = None,
    shard: LocalShard | None = None,
) -> Tensor:
    """Fill the tensor, in place, with a normal.

    >>> w = normal_(torch.empty(1000, 64), std=0.02, key=Key.of("embeddings.weight", seed=0))

    The arguments, the result and the errors are those of :func:`trunc_normal_`. All 2**32 quantiles lie within 6.35 std of the
    mean; an fp16 value past fp16's range is infinite, as in torch.
    """
    return fill_(tensor, made(Normal, mean, std), generator=generator, key=key, shard=shard)


def uniform_(
    tensor: Tensor,
    a: float = 0.0,
    b: float = 1.0,
    generator: Generator | None = None,
    *,
    key: Key | None = None,
    shard: LocalShard | None = None,
) -> Tensor:
    """Fill the tensor, in place, with a uniform on the half-open interval [a, b).

    >>> w = uniform_(torch.empty(64), -0.1, 0.1, key=Key.of("blocks.0.conv.weight", seed=0))

    The value is monotone in the Philox word: the midpoints of 2**32 equal parts of [a, b), rounded to fp32, where an ``a`` that
    fp32 does not hold is rounded into the interval first. ``b`` itself never comes out, in any dtype; ``a == b`` fills
    ``a``. An interval narrower than 2**-94 is even to 2**-24 of its width; one narrower than 2**-126, where fp32's normal
    numbers end, is a ``ValueError``. The other arguments, the result and the errors are those of :func:`trunc_normal_`.
    """
    return fill_(tensor, made(Uniform, a, b), generator=generator, key=key, shard=shard)


def fill_(
    tensor: Tensor,
    law: Distribution,
    *,
    generator: Generator | None = None,
    key: Key | None = None,
    shard: LocalShard | None = None,
) -> Tensor:
    """Fill the tensor from any law of distributions.py: what all random fills are made of."""
    if type(key) is not Key or generator is not None:
        check_source(key, generator)
    plan = op.plan(tensor, law, shard)
    if plan is not None:
        plan(tensor, draw_key(generator or default_generator(tensor.device)) if key is None else key)
        return tensor
    described = describe(tensor, shard)
    if not torch.compiler.is_compiling():  # the operator checks it too, but a rank without elements does not call it
        check_bounds(law, tensor.dtype)
    if tensor.is_meta:
        return tensor
    if key is None:
        if not torch.compiler.is_compiling() and is_fake(tensor) and not is_traced():
            return tensor
        key = draw_key(generator or default_generator(tensor.device))
    for view, box in described.boxes:
        op.fill(view, law, key, box)
    if described.sharded:
        torch.autograd.graph.increment_version(tensor)  # the operator has seen the local tensor alone
    return tensor


def check_source(key: Key | None, generator: Generator | None) -> None:
    """Raise unless there is at most one of a key and a generator."""
    if key is not None and generator is not None:
        raise ValueError("key: expected a key or a generator, got both")
    if key is not None and not isinstance(key, Key):
        raise TypeError(f"key: expected a fastinit.Key, got {key!r}")
    if generator is not None and not isinstance(generator, Generator):
        raise TypeError(f"generator: expected a torch.Generator, got {generator!r}")


def made(kind: type[_Law], *numbers: float) -> _Law:
    """A law, made and checked once for the same floats. Numbers of other types may change, or be equal to what they are not."""
    if torch.compiler.is_compiling() or {*map(type, numbers)} != {float}:
        return kind(*numbers)
    known: _Law = _known_law(kind, *numbers)
    return known


_known_law: Callable[..., Any] = lru_cache(maxsize=4096)(lambda kind, *numbers: kind(*numbers))


@lru_cache(maxsize=4096)
def check_bounds(law: Distribution, dtype: torch.dtype) -> None:
    """Raise ``ValueError`` where the dtype has no value of the law."""
    lower(law).bounds(str(dtype).removeprefix("torch."))
