"""Which law a weight is filled with: (method, role, sizes) -> law, as one table. No tensor, no module, no torch.

The methods are those of OLMo-core 3.0.0, and so is the order of operations: every std and bound is the same float.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import inf, sqrt

from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.transformed import Constant, InverseSoftplusOfLogUniform, Law, LogOfUniform
from fastinit.model.roles import Role

METHODS = ("normal", "normalized", "llama", "llama_depth", "fan_in")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a rule may ask for. A rule that needs what is None raises a ``ValueError`` that names it.

    ``block`` counts from 0 and ``num_blocks`` is the whole model's, whatever part of it is at hand; ``fan_in`` is the
    number of inputs of one output (see shard/fans.py). Where a rule depends on the depth, ``num_blocks`` that the block is none of
    are a ``ValueError``.
    """

    std: float = 0.02
    d_model: int | None = None
    num_blocks: int | None = None
    block: int | None = None
    fan_in: int | None = None
    embed_scale: float | None = None

    def need(self, name: str) -> int:
        """The size called ``name``."""
        size = getattr(self, name)
        if size is None:
            raise ValueError(f"{name}: expected a number, as the rule depends on it, got None")
        if not (0 if name == "block" else 1) <= size < inf:
            raise ValueError(f"{name}: expected a size of at least 1, got {size}")
        if name in ("block", "num_blocks"):
            self._check_depth()
        return int(size)

    def _check_depth(self) -> None:
        """Raise unless the block is one of the model's, where both are known."""
        if self.block is not None and self.num_blocks is not None and self.block >= self.num_blocks:
            raise ValueError(
                f"num_blocks: expected those of the whole model, more than {self.block} as there is a block of that "
                f"number, got {self.num_blocks}; give num_blocks="
            )


StdRule = Callable[[Sizes], float]


def _std(sizes: Sizes) -> float:
    return sizes.std


def _width(sizes: Sizes) -> float:
    return float(sizes.need("d_model") ** -0.5)


def _fan(sizes: Sizes) -> float:
    return float(sizes.need("fan_in") ** -0.5)


def _one(sizes: Sizes) -> float:
    return 1.0


def _scaled(sizes: Sizes) -> float:
    if sizes.embed_scale is None:
        return 1.0
    if not 0 < sizes.embed_scale < inf:
        raise ValueError(f"embed_scale: expected a finite number > 0, got {sizes.embed_scale}")
    return 1.0 / sizes.embed_scale


def _std_blocks(sizes: Sizes) -> float:
    return float(sizes.std / (2 * sizes.need("num_blocks")) ** 0.5)


def _std_depth(sizes: Sizes) -> float:
    return float(sizes.std / (2 * (sizes.need("block") + 1)) ** 0.5)


def _width_blocks(sizes: Sizes) -> float:
    return float(_width(sizes) / (2 * sizes.need("num_blocks")) ** 0.5)


def _symmetric(bound: float) -> Uniform:
    return Uniform(-bound, bound)


# The std of each role under each method; None where OLMo-core has no rule. The columns are those of METHODS.
#   std: the std that was asked for     width: d_model^-1/2     fan: fan_in^-1/2
#   ..._blocks: over sqrt(2 num_blocks)     ..._depth: over sqrt(2 (block + 1))
_STDS: dict[Role, tuple[StdRule | None, ...]] = {
    #                      normal  normalized     llama        llama_depth  fan_in
    Role.EMBEDDING:       (_std,   _width,        _one,        _one,        _scaled),
    Role.FINAL_OUTPUT:    (_std,   _width,        _width,      _width,      _width),
    Role.ATTENTION_IN:    (_std,   _width,        _std,        _std,        _fan),
    Role.ATTENTION_GATE:  (_std,   _width,        _std,        _std,        _fan),
    Role.ATTENTION_OUT:   (_std,   _width_blocks, _std_blocks, _std_depth,  _fan),
    Role.ATTENTION_SINKS: (_std,   _width_blocks, _std_blocks, _std_depth,  _fan),
    Role.FEED_FORWARD_W1: (_std,   _width,        _std,        _std,        _fan),
    Role.FEED_FORWARD_W3: (_std,   _width,        _std_blocks, _std_depth,  _fan),
    Role.FEED_FORWARD_W2: (_std,   _width_blocks, _std_blocks, _std_depth,  _fan),
    Role.ROUTER:          (_std,   _std,          _std_blocks, _std_depth,  _fan),
    Role.EXPERT_W1:       (_std,   _std,          _std_blocks, _std_depth,  _fan),
    Role.EXPERT_W3:       (_std,   _std,          _std_blocks, _std_depth,  _fan),
    Role.EXPERT_UP_GATE:  (_std,   _std,          _std_blocks, _std_depth,  _fan),
    Role.EXPERT_W2:       (_std,   _std,          _std_blocks, _std_depth,  _fan),
    Role.LATENT:          (_std,   _std,          _std_blocks, _std_depth,  _fan),
    Role.SHARED_EXPERT:   (_std,   _std,          _std_blocks, _std_depth,  _std),
    Role.SHARED_ROUTER:   (_std,   _std,          _std_blocks, _std_depth,  _std),
    Role.RECURRENT_IN:    (_std,   _width,        _std,        _std,        None),
    Role.RECURRENT_CONV:  (_std,   _width,        _std,        _std,        None),
    Role.RECURRENT_OUT:   (_std,   _width_blocks, _std_blocks, _std_depth,  None),
}  # fmt: skip

# What looks at a parameter's block: for its number, or to see that it is one of the model's.
_BLOCKS = frozenset({_std_blocks, _std_depth, _width_blocks})

# What torch.nn.Linear does by itself, from its number of inputs, under every method.
TORCH_ROLES = frozenset({Role.TORCH_LINEAR, Role.TORCH_BIAS})

# The same under every method.
_FIXED: dict[Role, Callable[[Sizes], Law]] = {
    Role.A_LOG: lambda sizes: LogOfUniform(0.0, 16.0),
    Role.DT_BIAS: lambda sizes: InverseSoftplusOfLogUniform(low=0.001, high=0.1, floor=1e-4),
    Role.NORM: lambda sizes: Constant(1.0),
    Role.SCALE: lambda sizes: Constant(1.0),
    Role.BIAS: lambda sizes: Constant(0.0),
    Role.WIDTH_SCALE: lambda sizes: Constant(1.0 / sqrt(sizes.need("d_model"))),
    # OLMo-core leaves the shared MLP of its first MoE as torch builds it.
    Role.TORCH_LINEAR: lambda sizes: _symmetric(
        sqrt(3.0) * (sqrt(2.0 / (1 + sqrt(5.0) ** 2)) / sqrt(sizes.need("fan_in")))
    ),
    Role.TORCH_BIAS: lambda sizes: _symmetric(1 / sqrt(sizes.need("fan_in"))),
}


def asks_for_block(method: str, role: Role) -> bool:
    """Whether the law of a role, or its error, depends on the block.

    >>> asks_for_block("llama_depth", Role.ATTENTION_OUT), asks_for_block("normal", Role.ATTENTION_OUT)
    (True, False)
    """
    return role in _STDS and _STDS[role][METHODS.index(method)] in _BLOCKS


def truncated(std: float) -> TruncatedNormal:
    """The law of a linear layer's weights: a normal around 0, truncated at 3 std.

    >>> truncated(0.02)
    TruncatedNormal(mean=0.0, std=0.02, a=-0.06, b=0.06)
    """
    return TruncatedNormal(0.0, std, -3 * std, 3 * std)


@lru_cache(maxsize=4096)  # a model has a few laws, and each is asked for once a layer and expert
def law_of(method: str, role: Role, sizes: Sizes) -> Law | None:
    """The law of a parameter; None for one that stays untouched.

    >>> law_of("llama", Role.ATTENTION_OUT, Sizes(std=0.02, num_blocks=8))
    TruncatedNormal(mean=0.0, std=0.005, a=-0.015, b=0.015)

    Embeddings are a plain normal under all methods but "normal", and attention sinks always are.

    Raises ``ValueError`` for an unknown method, a size that the rule needs and that is None, and a pair of method and
    role that has no rule.
    """
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {str(method)!r}")
    if role is Role.UNTOUCHED:
        return None
    if role in _FIXED:
        return _FIXED[role](sizes)
    rule = _STDS[role][METHODS.index(method)]
    if rule is None:
        raise ValueError(f"method: expected one that has a rule for a {role.value}, got {str(method)!r}")
    if role is Role.ATTENTION_SINKS or (role is Role.EMBEDDING and method != "normal"):
        return Normal(0.0, rule(sizes))
    return truncated(rule(sizes))
