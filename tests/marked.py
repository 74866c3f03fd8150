"""torch with draws that are known numbers, by which a law is read off exactly, without a sample."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.transformed import Constant, InverseSoftplusOfLogUniform, Law, LogOfUniform

_aten = torch.ops.aten


class Marked(TorchDispatchMode):
    """Within it, a normal draws its mean and ``sigmas`` stds everywhere, and a uniform its lower or its upper bound.

    Nothing of fastinit has a part in it. What a framework computes of a draw, it computes of that number.
    """

    def __init__(self, sigmas: float) -> None:
        super().__init__()
        self.sigmas = sigmas

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        bound = float(self.sigmas > 0)
        match function:
            case _aten.normal_.default:
                mean, std = (*args[1:], *(0.0, 1.0)[len(args) - 1 :])
                return args[0].fill_(mean + self.sigmas * std)
            case _aten.uniform_.default:
                low, high = (*args[1:], *(0.0, 1.0)[len(args) - 1 :])
                return args[0].fill_(high if bound else low)
            case _aten.randn.default:
                return torch.full(args[0], self.sigmas, **kwargs)
            case _aten.rand.default:
                return torch.full(args[0], bound, **kwargs)
        assert torch.Tag.nondeterministic_seeded not in function.tags, f"{function} draws, too"
        return function(*args, **kwargs)


def mark_of(law: Law, sigmas: float) -> tuple[float, ...]:
    """What is to be seen where a law was drawn from; of a truncated normal that is made of a uniform, its bound."""
    match law:
        case Constant(value):
            return (value,)
        case Normal(mean, std):
            return (mean + sigmas * std,)
        case TruncatedNormal(mean, std, a, b):
            return (mean + sigmas * std, b if sigmas > 0 else a)
        case Uniform(a, b):
            return (b if sigmas > 0 else a,)
        case LogOfUniform(a, b):
            return (law.transform(b if sigmas > 0 else a),)
        case InverseSoftplusOfLogUniform():
            return (law.transform(float(sigmas > 0)),)


def box_of(tensor: Tensor, offset: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """A box of a tensor."""
    return tensor[tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=True))]
