"""The schemes whose scale follows from the fans: He's, Glorot's, LeCun's, and JAX's rule that has all of them in it.

Each is a uniform or a normal of :mod:`fastinit.init.fills`, and its std and bounds are the floats that torch computes.
"""

from collections.abc import Callable
from math import sqrt
from typing import Any

from torch import Generator, Tensor

from fastinit.init.arguments import finite
from fastinit.init.fills import fill_, made
from fastinit.init.gain import calculate_gain
from fastinit.init.weights import fans_of
from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.shard.fans import Fans
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key

# The std of a standard normal that is truncated at 2: JAX's and timm's constant.
TRUNCATED_STD = 0.87962566103423978


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
    *,
    key: Key | None = None,
    shard: LocalShard | None = None,
    layout: str | None = None,
    num_experts: int | None = None,
) -> Tensor:
    """Fill the tensor, in place, with a uniform on [-bound, bound), bound = gain √(3 / fan): He initialisation.

    >>> w = kaiming_uniform_(torch.empty(64, 2048, 1024), layout="e o i", key=Key.of("blocks.0.experts.w1", seed=0))

    Args:
        tensor, generator, key, shard: as in :func:`fastinit.trunc_normal_`.
        a: the negative slope of a leaky_relu behind the layer; others have none.
        mode: "fan_in" keeps the size of what goes forward, "fan_out" that of the gradients.
        nonlinearity: see :func:`calculate_gain`.
        layout: which dimension is which: a letter for each, ``i`` input, ``o`` output, ``e`` expert, ``k`` kernel, as in "o i",
            "e i o", "e o i", "o i k"; "(e i) o" has the experts' rows below each other. The fan is that of one expert.
            Without it the fans are torch's, those of "o i k k ...", and three dimensions are a warning that says which.
        num_experts: of a layout with such a dimension as ``(e i)``.

    The fans are those of the logical weight: of all of a DTensor, and of the shard's ``global_shape``.

    Returns the same tensor. Raises what :func:`fastinit.trunc_normal_` does, and ``ValueError`` for fewer than two dimensions, a
    layout that does not fit, an unknown mode or nonlinearity. A weight without elements is torch's warning, and stays as it is.

    Source: He et al., "Delving deep into rectifiers" (2015), equation 10; bound = √3 std.
    """
    found = fans_of(tensor, shard, layout, num_experts)
    if found is None:
        return tensor
    law = _symmetric(calculate_gain(nonlinearity, a) / sqrt(_kaiming_fan(found, mode)))
    return fill_(tensor, law, generator=generator, key=key, shard=shard)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
    *,
    key: Key | None = None,
    shard: LocalShard | None = None,
    layout: str | None = None,
    num_experts: int | None = None,
) -> Tensor:
    """Fill the tensor, in place, with a normal of std = gain / √fan: He initialisation.

    >>> w = kaiming_normal_(torch.empty(4096, 1024), nonlinearity="relu", key=Key.of("blocks.0.w1.weight", seed=0))

    The arguments, the fans, the result, the errors and the source are those of :func:`kaiming_uniform_`.
    """
    found = fans_of(tensor, shard, layout, num_experts)
    if found is None:
        return tensor
    law = made(Normal, 0.0, calculate_gain(nonlinearity, a) / sqrt(_kaiming_fan(found, mode)))
    return fill_(tensor, law, generator=generator, key=key, shard=shard)


def xavier_uniform_(
    tensor: Tensor,
    gain: float = 1.0,
    generator: Generator | None = None,
    *,
    key: Key | None = None,
    shard: LocalShard | None = None,
    layout: str | None = None,
    num_experts: int | None = None,
) -> Tensor:
    """Fill the tensor, in place, with a uniform on [-a, a), a = gain √(6 / (fan_in + fan_out)): Glorot initialisation.

    >>> w = xavier_uniform_(torch.empty(4096, 1024), key=Key.of("blocks.0.w1.weight", seed=0))

    ``gain`` is a finite number >= 0. The other arguments, the fans, the result and the errors are those of
    :func:`kaiming_uniform_`.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010), equation 16.
    """
    found = fans_of(tensor, shard, layout, num_experts)
    if found is None:
        return tensor
    return fill_(tensor, _symmetric(_xavier_std(found, gain)), generator=generator, key=key, shard=shard)


def xavier_normal_(
    tensor: Tensor,
    gain: float = 1.0,
    generator: Generator | None = None,
    *,
    key: Key | None = None,
    shard: LocalShard | None = None,
    layout: str | None = None,
    num_experts: int | None = None,
) -> Tensor:
    """Fill the tensor, in place, with a normal of std = gain √(2 / (fan_in + fan_out)): Glorot initialisation.

    >>> w = xavier_normal_(torch.empty(4096, 1024), key=Key.of("blocks.0.w1.weight", seed=0))

    The arguments, the fans, the result and the errors are those of :func:`xavier_uniform_`; the std is that of its equation 12.
    """
    found = fans_of(tensor, shard, layout, num_experts)
    if found is None:
        return tensor
    return fill_(tensor, made(Normal, 0.0, _xavier_std(found, gain)), generator=generator, key=key, shard=shard)


def lecun_normal_(
    tensor: Tensor,
    generator: Generator | None = None,
    *,
    key: Key | None = None,
    shard: LocalShard | None = None,
    layout: str | None = None,
    num_experts: int | None = None,
) -> Tensor:
    """Fill the tensor, in place, with a normal truncated at 2 of its stds, whose values have std = √(1 / fan_in).

    >>> w = lecun_normal_(torch.empty(4096, 1024), key=Key.of("patch_embed.weight", seed=0))

    It is ``variance_scaling_(tensor)``, as in timm, transformers and JAX, and has its arguments, fans, result and errors.

    Source: LeCun et al., "Efficient backprop" (1998), section 4.6; Klambauer et al., "Self-normalizing neural networks" (2017).
    """
    found = fans_of(tensor, shard, layout, num_experts)
    if found is None:
        return tensor
    return fill_(tensor, _truncated(1.0 / found.fan_in, True), generator=generator, key=key, shard=shard)


def variance_scaling_(
    tensor: Tensor,
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
    generator: Generator | None = None,
    *,
    corrected: bool = True,
    key: Key | None = None,
    shard: LocalShard | None = None,
    layout: str | None = None,
    num_experts: int | None = None,
) -> Tensor:
    """Fill the tensor, in place, with values of variance scale / n, where n is a fan: all the schemes as one rule.

    >>> w = variance_scaling_(torch.empty(64, 1024, 2048), 2.0, "fan_in", layout="e i o", key=Key.of("experts.w1", seed=0))

    Args:
        scale: a finite number >= 0: 2 with "fan_in" is He's, 1 with "fan_avg" Glorot's, 1 with "fan_in" LeCun's.
        mode: what n is: "fan_in", "fan_out", "fan_avg" or "fan_geo_avg", the arithmetic and the geometric mean of both.
        distribution: "truncated_normal" at 2 of its own stds, "normal", or "uniform" on [-√3 std, √3 std).
        corrected: whether a truncated normal is made wider, by 1 / 0.87962566103423978, so that its values have the variance that
            was asked for, as in JAX and timm. Without it, it is the normal before truncation that has it.
        layout: in place of JAX's axes: ``in_axis=-2, out_axis=-1, batch_axis=0`` is "e i o". Without it, it is torch's
            "o i k k ...", not JAX's "k ... i o".

    The other arguments, the fans, the result and the errors are those of :func:`kaiming_uniform_`.

    Source: ``jax.nn.initializers.variance_scaling``, with its names.
    """
    found = fans_of(tensor, shard, layout, num_experts)
    if found is None:
        return tensor
    variance = finite("scale", scale, least=0) / _one_of("mode", mode, _MODES)(found)
    law = _one_of("distribution", distribution, _DISTRIBUTIONS)(variance, corrected)
    return fill_(tensor, law, generator=generator, key=key, shard=shard)


def _symmetric(std: float) -> Uniform:
    """The uniform around 0 of this std."""
    bound = sqrt(3.0) * std
    return made(Uniform, -bound, bound)


def _truncated(variance: float, corrected: bool) -> TruncatedNormal:
    std = sqrt(variance) / (TRUNCATED_STD if corrected else 1.0)
    return made(TruncatedNormal, 0.0, std, -2.0 * std, 2.0 * std)


def _kaiming_fan(found: Fans, mode: str) -> int:
    chosen: int = _one_of("mode", mode.lower() if isinstance(mode, str) else mode, _KAIMING)(found)
    return chosen


def _xavier_std(found: Fans, gain: float) -> float:
    return finite("gain", gain, least=0) * sqrt(2.0 / float(found.fan_in + found.fan_out))


_KAIMING: dict[str, Callable[..., Any]] = {"fan_in": lambda fans: fans.fan_in, "fan_out": lambda fans: fans.fan_out}
_MODES: dict[str, Callable[..., Any]] = {
    **_KAIMING,
    "fan_avg": lambda fans: (fans.fan_in + fans.fan_out) / 2,
    "fan_geo_avg": lambda fans: sqrt(fans.fan_in * fans.fan_out),
}
_DISTRIBUTIONS: dict[str, Callable[..., Any]] = {
    "truncated_normal": _truncated,
    "normal": lambda variance, corrected: made(Normal, 0.0, sqrt(variance)),
    "uniform": lambda variance, corrected: made(Uniform, -sqrt(3 * variance), sqrt(3 * variance)),
}


def _one_of(name: str, given: str, known: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    if not isinstance(given, str) or given not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {given!r}")
    return known[given]
