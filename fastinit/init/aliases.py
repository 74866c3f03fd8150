"""The names of torch.nn.init without an underscore, which it has deprecated: each warns, and does what the other does."""

import warnings
from collections.abc import Callable
from typing import ParamSpec

from torch import Tensor

from fastinit.init import constants, fills, orthogonality, schemes, sparsity

P = ParamSpec("P")


def _deprecated(fill: Callable[P, Tensor]) -> Callable[P, Tensor]:
    old = fill.__name__.removesuffix("_")

    def alias(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        warnings.warn(
            f"fastinit.init.{old} is deprecated, as in torch.nn.init: use fastinit.init.{fill.__name__}",
            FutureWarning,
            stacklevel=2,
        )
        return fill(*args, **kwargs)

    alias.__name__ = alias.__qualname__ = old
    alias.__doc__ = f"Deprecated: :func:`{fill.__name__}`."
    return alias


uniform = _deprecated(fills.uniform_)
normal = _deprecated(fills.normal_)
constant = _deprecated(constants.constant_)
eye = _deprecated(constants.eye_)
dirac = _deprecated(constants.dirac_)
xavier_uniform = _deprecated(schemes.xavier_uniform_)
xavier_normal = _deprecated(schemes.xavier_normal_)
kaiming_uniform = _deprecated(schemes.kaiming_uniform_)
kaiming_normal = _deprecated(schemes.kaiming_normal_)
orthogonal = _deprecated(orthogonality.orthogonal_)
sparse = _deprecated(sparsity.sparse_)
