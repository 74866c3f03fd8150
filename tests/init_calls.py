"""Calls of fastinit.init, for the tests of what all of them have in common: a function of a tensor and, by name, a key or
a generator, and a shard."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from fastinit import init

Call = Callable[..., Tensor]

# Of weights of any two dimensions.
RANDOM: dict[str, Call] = {
    "uniform_": init.uniform_,
    "normal_": init.normal_,
    "trunc_normal_": init.trunc_normal_,
    "trunc_normal_tf_": partial(init.trunc_normal_tf_, mean=0.5, std=0.1, a=-3.0, b=1.0),
    "kaiming_uniform_": init.kaiming_uniform_,
    "kaiming_normal_": partial(init.kaiming_normal_, mode="fan_out", nonlinearity="relu"),
    "xavier_uniform_": partial(init.xavier_uniform_, gain=2.0),
    "xavier_normal_": init.xavier_normal_,
    "lecun_normal_": init.lecun_normal_,
    "variance_scaling_": partial(init.variance_scaling_, scale=2.0, mode="fan_avg", distribution="uniform"),
    "orthogonal_": partial(init.orthogonal_, gain=1.5),
    "sparse_": partial(init.sparse_, sparsity=0.3),
}


def _of_a_kernel(fill_: Call) -> Call:
    """As a convolution's, with a kernel of one."""

    def of_a_matrix(tensor: Tensor, **where: object) -> Tensor:
        assert not where
        fill_(tensor[..., None])
        return tensor

    return of_a_matrix


CONSTANT: dict[str, Call] = {
    "constant_": partial(init.constant_, val=0.3),
    "ones_": init.ones_,
    "zeros_": init.zeros_,
    "eye_": init.eye_,
    "dirac_": _of_a_kernel(init.dirac_),
}
