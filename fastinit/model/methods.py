"""InitMethod and init_linear: the calls of OLMo-core's transformer/init.py, on any modules with the same attributes."""

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum
from typing import Any

from torch import Generator, Tensor

from fastinit.init import fill_
from fastinit.model.filling import fill_law_
from fastinit.model.roles import Role
from fastinit.model.rules import Sizes, law_of, truncated
from fastinit.model.walk import experts_shard
from fastinit.shard.geometry import LocalShard
from fastinit.shard.storage import write


def init_linear(m: Any, *, std: float = 0.02, generator: Generator | None = None) -> None:
    """Fill a Linear's or Conv1d's weight with a normal truncated at 3 std, and its bias with zeros.

    >>> init_linear(torch.nn.Linear(1024, 4096), std=0.02)
    """
    fill_(m.weight, truncated(std), generator=generator)
    _zero(m.bias)


class InitMethod(str, Enum):
    """The initialisation schemes of OLMo-core; rules.py has them as one table.

    >>> InitMethod.llama.init_feed_forward(m, d_model=1024, block_idx=0, num_blocks=16, std=0.02, generator=g)

    ``init_model_`` fills a whole model by the names of its parameters instead, and needs no generator.
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
        """Fill ``m.weight``."""
        sizes = Sizes(std=std, d_model=d_model, embed_scale=embed_scale)
        fill_law_(m.weight, law_of(self, Role.EMBEDDING, sizes), generator=generator)

    def init_final_w_out(self, m: Any, *, d_model: int, std: float = 0.02, generator: Generator | None = None) -> None:
        """Fill ``m.weight``, and ``m.bias`` with zeros."""
        self._linears([(m, Role.FINAL_OUTPUT)], Sizes(std=std, d_model=d_model), generator)

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
        """Call ``m.init_weights`` with these arguments and ``init_method=self``: a sequence mixer knows its weights."""
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
        """Fill the linear layers ``m.w1``, ``m.w3`` and ``m.w2``."""
        sizes = Sizes(std=std, d_model=d_model, block=block_idx, num_blocks=num_blocks)
        linears = [(m.w1, Role.FEED_FORWARD_W1), (m.w3, Role.FEED_FORWARD_W3), (m.w2, Role.FEED_FORWARD_W2)]
        self._linears(linears, sizes, generator)

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

        A bank's number of inputs is ``m.experts.mlp.d_model`` or ``.hidden_size``, however it is laid out and sharded.
        """
        sizes = Sizes(std=std, d_model=d_model, block=block_idx, num_blocks=num_blocks)
        mlp = m.experts.mlp
        self._weight(m.router.weight, Role.ROUTER, sizes, m.router.d_model, generator)
        self._latent(m, sizes, generator)
        self._weight(mlp.w1, Role.EXPERT_W1, sizes, mlp.d_model, generator)
        self._weight(mlp.w2, Role.EXPERT_W2, sizes, mlp.hidden_size, generator)
        self._weight(mlp.w3, Role.EXPERT_W3, sizes, mlp.d_model, generator)

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

        Routed experts may be this rank's part of the bank, as plain tensors (see :func:`experts_shard`): then one
        ``generator``, the same on all ranks, gives all ranks' experts. ``ep_generator`` is used when it comes alone.
        """
        sizes = Sizes(std=std, d_model=d_model, block=block_idx, num_blocks=num_blocks)
        shared, routed = b.shared_experts, b.routed_experts
        for router, role in ((b.shared_experts_router, Role.SHARED_ROUTER), (b.routed_experts_router, Role.ROUTER)):
            if router:
                self._weight(router.weight, role, sizes, router.d_model, generator)
                _zero(router.bias)
        self._latent(b, sizes, generator)
        if routed:
            source = generator if generator is not None else ep_generator
            for weight, role, inputs in (
                (routed.w_up_gate, Role.EXPERT_UP_GATE, routed.d_model),
                (routed.w_down, Role.EXPERT_W2, routed.hidden_size),
            ):
                self._weight(weight, role, sizes, inputs, source, experts_shard(routed, weight))
            _zero(routed.b_up_gate, routed.b_down)
        if shared:
            self._weight(shared.w_up_gate, Role.SHARED_EXPERT, sizes, shared.d_model, generator)
            self._weight(shared.w_down, Role.SHARED_EXPERT, sizes, shared.hidden_size, generator)

    def _latent(self, m: Any, sizes: Sizes, generator: Generator | None) -> None:
        projections = (getattr(m, "latent_down_proj", None), getattr(m, "latent_up_proj", None))
        self._linears([(linear, Role.LATENT) for linear in projections if linear is not None], sizes, generator)

    def _linears(self, linears: Iterable[tuple[Any, Role]], sizes: Sizes, generator: Generator | None) -> None:
        for m, role in linears:
            self._weight(m.weight, role, sizes, m.in_features, generator)
            _zero(m.bias)

    def _weight(
        self,
        weight: Tensor,
        role: Role,
        sizes: Sizes,
        inputs: int,
        generator: Generator | None,
        shard: LocalShard | None = None,
    ) -> None:
        fill_law_(weight, law_of(self, role, replace(sizes, fan_in=inputs)), generator=generator, shard=shard)


def _zero(*biases: Tensor | None) -> None:
    for bias in biases:
        if bias is not None:
            write(bias, Tensor.zero_)
