"""torch.nn.init with every name of it, filled from (seed, parameter name, global index) alone.

>>> from fastinit import init  # where it was: from torch.nn import init
>>> w = init.kaiming_normal_(torch.empty(64, 2048, 1024), layout="e o i", key=Key.of("blocks.0.experts.w1", seed=0))

The functions have torch's arguments and ``key`` and ``shard``, which constants take, too, though nothing of them depends on a key;
where a fan is taken, ``layout`` and ``num_experts``. Besides torch's there are ``trunc_normal_tf_``, ``lecun_normal_`` and
``variance_scaling_``.

fills.py has the laws themselves, and ``fill_`` for any of them; schemes.py those whose scale follows from the fans, which
weights.py takes of a weight, with the gains of gain.py; constants.py what is not random; orthogonality.py orthogonal matrices by
the arithmetic of orthonormal.py; sparsity.py sparse ones; arguments.py names arguments that are none, memory.py
has torch write to the boxes of a tensor, and aliases.py are the deprecated names without an underscore.

The laws, the geometry and the operators (op.py) are imported here; foreach.py, models and integrations import this.
"""

from fastinit.init.aliases import (
    constant,
    dirac,
    eye,
    kaiming_normal,
    kaiming_uniform,
    normal,
    orthogonal,
    sparse,
    uniform,
    xavier_normal,
    xavier_uniform,
)
from fastinit.init.constants import constant_, dirac_, eye_, ones_, zeros_
from fastinit.init.fills import fill_ as fill_
from fastinit.init.fills import normal_, trunc_normal_, trunc_normal_tf_, uniform_
from fastinit.init.gain import calculate_gain
from fastinit.init.orthogonality import orthogonal_
from fastinit.init.schemes import (
    kaiming_normal_,
    kaiming_uniform_,
    lecun_normal_,
    variance_scaling_,
    xavier_normal_,
    xavier_uniform_,
)
from fastinit.init.sparsity import sparse_

__all__ = [
    "calculate_gain",
    "constant",
    "constant_",
    "dirac",
    "dirac_",
    "eye",
    "eye_",
    "kaiming_normal",
    "kaiming_normal_",
    "kaiming_uniform",
    "kaiming_uniform_",
    "lecun_normal_",
    "normal",
    "normal_",
    "ones_",
    "orthogonal",
    "orthogonal_",
    "sparse",
    "sparse_",
    "trunc_normal_",
    "trunc_normal_tf_",
    "uniform",
    "uniform_",
    "variance_scaling_",
    "xavier_normal",
    "xavier_normal_",
    "xavier_uniform",
    "xavier_uniform_",
    "zeros_",
]
