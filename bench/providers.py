"""Providers: who fills a tensor with which law. Ours go through the public functions."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import fastinit
from fastinit import Key, LocalShard
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal, Uniform

KEY = Key.of("bench.weight", 0)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ROOF = ("fill_", "Tensor.fill_")
OURS, GRAPH, TORCH, ERFINV = "fastinit", "fastinit graph", "torch.nn.init", "erfinv formula"
MAIN = "trunc_normal_ 3 sigma"
_PUBLIC: dict[type, Callable[..., Tensor]] = {
    TruncatedNormal: fastinit.trunc_normal_,
    Normal: fastinit.normal_,
    Uniform: fastinit.uniform_,
}


@dataclass(frozen=True)
class Benchmarked:
    """A law, and what fills it besides us."""

    law: Distribution
    others: dict[str, Callable[[Tensor], object]]

    def ours(self, tensor: Tensor, shard: LocalShard) -> Callable[[], object]:
        """A call of our fill, by the law's own arguments."""
        public, arguments = _PUBLIC[type(self.law)], self.law.parameters()
        return lambda: public(tensor, *arguments, key=KEY, shard=shard)


def erfinv_(tensor: Tensor, mean: float, std: float, a: float, b: float) -> Tensor:
    """The quantile formula: a uniform between the bounds' levels, through the inverse error function, scaled.

    torch's trunc_normal_ computed this until 2.11, and timm's does.
    """
    low, high = (math.erf((bound - mean) / std / math.sqrt(2.0)) for bound in (a, b))
    return tensor.uniform_(low, high).erfinv_().mul_(std * math.sqrt(2.0)).add_(mean).clamp_(a, b)


def _truncated(law: TruncatedNormal) -> Benchmarked:
    arguments = law.parameters()
    return Benchmarked(
        law,
        {
            TORCH: lambda tensor: torch.nn.init.trunc_normal_(tensor, *arguments),
            ERFINV: lambda tensor: erfinv_(tensor, *arguments),
        },
    )


FILLS: dict[str, Benchmarked] = {
    MAIN: _truncated(TruncatedNormal(0.0, 0.02, -0.06, 0.06)),
    "trunc_normal_ default": _truncated(TruncatedNormal()),
    "normal_": Benchmarked(
        Normal(0.0, 0.02),
        {
            TORCH: lambda tensor: torch.nn.init.normal_(tensor, std=0.02),
            "Tensor.normal_": lambda tensor: tensor.normal_(std=0.02),
        },
    ),
    "uniform_": Benchmarked(
        Uniform(-0.1, 0.1),
        {TORCH: lambda tensor: torch.nn.init.uniform_(tensor, -0.1, 0.1)},
    ),
}
