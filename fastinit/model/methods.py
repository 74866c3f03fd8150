"""InitMethod and init_linear: the calls of OLMo-core's transformer/init.py, on any modules with the same attributes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from fastinit.law.distributions import Distribution
from fastinit.law.lowering import lower
from fastinit.law.transformed import Constant, Law
from fastinit.model.filling import fill_law_
from fastinit.model.roles import Role
from fastinit.model.rules import Sizes, law_of, truncated
from fastinit.model.walk import experts_shard
from fastinit.shard.described import describe
from fastinit.shard.geometry import LocalShard
from fastinit.shard.storage import dtype_name


def init_linear(m: Any, *, std: float = 0.02, generator: Generator | None = None) -> None:
    """Fill a Linear's or Conv1d's weight with a normal truncated at 3 std, and its bias with zeros.

    >>> init_linear(torch.nn.Linear(1024, 4096), std=0.02)

    Raises what :func:`fastinit.trunc_normal_` raises, of either, before anything is written.
    """
    _fill_all([_Filled(m.weight, truncated(std), generator), *_zeros(m.bias)])


class _Filled(NamedTuple):
    """A tensor, and what it is to be filled with."""

    tensor: Tensor
    law: Law | None
    generator: Generator | None = None
    shard: LocalShard | None = None


class InitMethod(str, Enum):
    """The initialisation schemes of OLMo-core; rules.py has them as one table.

    >>> m = torch.nn.ModuleDict({"w1": torch.nn.Linear(8, 16), "w2": torch.nn.Linear(16, 8), "w3": torch.nn.Linear(8, 16)})
    >>> InitMethod.llama.init_feed_forward(m, d_model=8, block_idx=0, num_blocks=16, std=0.02)

    Each raises what :func:`fastinit.trunc_normal_` raises, of any tensor, and ``ValueError`` for a size that a rule needs and
    that is none, before the first tensor is written. ``init_model_`` fills a whole model by the names of its parameters
    instead, and needs no generator.
    """

    normal = "normal"
    """Everything truncated at 3 std, with one std."""

    normalized = "normalized"
    """nGPT: std ``d_model ** -0.5``, the outputs of attention and feed-forward smaller by the number of blocks."""

    llama = "llama"
    """Outputs smaller by the number of blocks."""

    llama_depth = "llama_depth"
    """Outputs smaller by the depth of their block."""

    fan_in = "fan_in"
    """Each matrix by its own number of inputs."""

    def __str__(self) -> str:
        return self.value

    def init_embeddings(
        self,
        m: Any,
        *,
        d_model: int,
        embed_scale: float | None = None,
        std: float = 0.02,
        generator: Generator | None = None,
    ) -> None:
        """Fill ``m.weight``.

        >>> InitMethod.normal.init_embeddings(torch.nn.Embedding(1000, 64), d_model=64, std=0.02)
        """
        sizes = Sizes(std=std, d_model=d_model, embed_scale=embed_scale)
        _fill_all([_Filled(m.weight, law_of(self, Role.EMBEDDING, sizes), generator)])

    def init_final_w_out(self, m: Any, *, d_model: int, std: float = 0.02, generator: Generator | None = None) -> None:
        """Fill ``m.weight``, and ``m.bias`` with zeros.

        >>> head = torch.nn.Linear(64, 1000)
        >>> InitMethod.llama.init_final_w_out(head, d_model=64)
        >>> bool(head.weight.abs().max() <= 3 * 64**-0.5), int(head.bias.count_nonzero())
        (True, 0)
        """
        _fill_all([*self._linear(m, Role.FINAL_OUTPUT, Sizes(std=std, d_model=d_model), generator)])

    def init_attention(
        self,
        m: Any,
        *,
        d_model: int,
        block_idx: int,
        num_blocks: int,
        std: float = 0.02,
        generator: Generator | None = None,
    ) -> None:
        """Call ``m.init_weights`` with these arguments and ``init_method=self``: a sequence mixer knows its weights.

        >>> class Mixer(torch.nn.Linear):
        ...     def init_weights(self, *, init_method, d_model, **others):
        ...         fastinit.init_linear(self, std=d_model**-0.5)
        >>> InitMethod.normal.init_attention(Mixer(64, 64), d_model=64, block_idx=0, num_blocks=16)
        """
        m.init_weights(
            init_method=self,
            d_model=d_model,
            block_idx=block_idx,
            num_blocks=num_blocks,
            std=std,
            generator=generator,
        )

    def init_feed_forward(
        self,
        m: Any,
        *,
        d_model: int,
        block_idx: int,
        num_blocks: int,
        std: float = 0.02,
        generator: Generator | None = None,
    ) -> None:
        """Fill the linear layers ``m.w1``, ``m.w3`` and ``m.w2``.

        >>> m = torch.nn.ModuleDict({name: torch.nn.Linear(64, 64) for name in ("w1", "w2", "w3")})
        >>> InitMethod.llama_depth.init_feed_forward(m, d_model=64, block_idx=3, num_blocks=16)
        >>> bool(m.w2.weight.abs().max() < m.w1.weight.abs().max())  # an output, smaller by its block's depth
        True
        """
        sizes = Sizes(std=std, d_model=d_model, block=block_idx, num_blocks=num_blocks)
        linears = ((m.w1, Role.FEED_FORWARD_W1), (m.w3, Role.FEED_FORWARD_W3), (m.w2, Role.FEED_FORWARD_W2))
        _fill_all([fill for linear, role in linears for fill in self._linear(linear, role, sizes, generator)])

    def init_feed_forward_moe(
        self,
        m: Any,
        *,
        d_model: int,
        block_idx: int,
        num_blocks: int,
        std: float = 0.02,
        generator: Generator | None = None,
    ) -> None:
        """Fill ``m.router.weight``, the latent projections, if any, and the banks ``m.experts.mlp.w1``, ``w2``, ``w3``.

        >>> from olmo_core.nn.moe import MoEConfig
        >>> moe = MoEConfig(num_experts=4, hidden_size=16).build(32, n_layers=1, init_device="cpu")
        >>> InitMethod.fan_in.init_feed_forward_moe(moe, d_model=32, block_idx=0, num_blocks=1)

        A bank's number of inputs is ``m.experts.mlp.d_model`` or ``.hidden_size``, however it is laid out and sharded.
        """
        sizes = Sizes(std=std, d_model=d_model, block=block_idx, num_blocks=num_blocks)
        mlp = m.experts.mlp
        _fill_all(
            [
                self._weight(m.router.weight, Role.ROUTER, sizes, m.router.d_model, generator),
                *self._latent(m, sizes, generator),
                self._weight(mlp.w1, Role.EXPERT_W1, sizes, mlp.d_model, generator),
                self._weight(mlp.w2, Role.EXPERT_W2, sizes, mlp.hidden_size, generator),
                self._weight(mlp.w3, Role.EXPERT_W3, sizes, mlp.d_model, generator),
            ]
        )

    def init_moe_v2(
        self,
        b: Any,
        *,
        d_model: int,
        block_idx: int,
        num_blocks: int,
        std: float = 0.02,
        generator: Generator | None = None,
        ep_generator: Generator | None = None,
    ) -> None:
        """Fill the routers, latent projections, routed and shared experts of a block, as far as it has them.

        >>> from types import SimpleNamespace
        >>> router = SimpleNamespace(weight=torch.empty(8 * 64), bias=None, d_model=64)
        >>> parts = dict(routed_experts=None, shared_experts=None, shared_experts_router=None)
        >>> block = SimpleNamespace(routed_experts_router=router, **parts)
        >>> InitMethod.normal.init_moe_v2(block, d_model=64, block_idx=0, num_blocks=16, std=0.02)
        >>> bool(router.weight.abs().max() <= 0.06)
        True

        Routed experts may be this rank's part of the bank, as plain tensors (see :func:`experts_shard`): then one
        ``generator``, the same on all ranks, gives all ranks' experts. ``ep_generator`` is used when it comes alone.
        """
        sizes = Sizes(std=std, d_model=d_model, block=block_idx, num_blocks=num_blocks)
        shared, routed = b.shared_experts, b.routed_experts
        fills: list[_Filled] = []
        for router, role in ((b.shared_experts_router, Role.SHARED_ROUTER), (b.routed_experts_router, Role.ROUTER)):
            if router:
                fills += [self._weight(router.weight, role, sizes, router.d_model, generator), *_zeros(router.bias)]
        fills += self._latent(b, sizes, generator)
        if routed:
            source = generator if generator is not None else ep_generator
            for weight, role, inputs in (
                (routed.w_up_gate, Role.EXPERT_UP_GATE, routed.d_model),
                (routed.w_down, Role.EXPERT_W2, routed.hidden_size),
            ):
                fills.append(self._weight(weight, role, sizes, inputs, source, experts_shard(routed, weight)))
            fills += _zeros(routed.b_up_gate, routed.b_down)
        if shared:
            fills += [
                self._weight(shared.w_up_gate, Role.SHARED_EXPERT, sizes, shared.d_model, generator),
                self._weight(shared.w_down, Role.SHARED_EXPERT, sizes, shared.hidden_size, generator),
            ]
        _fill_all(fills)

    def _latent(self, m: Any, sizes: Sizes, generator: Generator | None) -> Iterator[_Filled]:
        for name in ("latent_down_proj", "latent_up_proj"):
            linear = getattr(m, name, None)
            if linear is not None:
                yield from self._linear(linear, Role.LATENT, sizes, generator)

    def _linear(self, m: Any, role: Role, sizes: Sizes, generator: Generator | None) -> Iterator[_Filled]:
        yield self._weight(m.weight, role, sizes, m.in_features, generator)
        yield from _zeros(m.bias)

    def _weight(
        self,
        weight: Tensor,
        role: Role,
        sizes: Sizes,
        inputs: int,
        generator: Generator | None,
        shard: LocalShard | None = None,
    ) -> _Filled:
        return _Filled(weight, law_of(self, role, replace(sizes, fan_in=inputs)), generator, shard)


def _zeros(*biases: Tensor | None) -> Iterator[_Filled]:
    for bias in biases:
        if bias is not None:
            yield _Filled(bias, Constant(0.0))


def _fill_all(fills: Sequence[_Filled]) -> None:
    """Fill tensors in their order, once all of them are known to be such that they can be filled."""
    if not torch.compiler.is_compiling():
        for fill in fills:
            _check(*fill)
    for tensor, law, generator, shard in fills:
        fill_law_(tensor, law, generator=generator, shard=shard)


def _check(tensor: Tensor, law: Law | None, generator: Generator | None, shard: LocalShard | None) -> None:
    """Raise what filling the tensor would raise."""
    if generator is not None and not isinstance(generator, Generator):
        raise TypeError(f"generator: expected a torch.Generator, got {generator!r}")
    describe(tensor, shard)
    if isinstance(law, Distribution):
        lower(law).bounds(dtype_name(tensor.dtype))
