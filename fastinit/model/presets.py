"""Published mixture-of-experts architectures: the name, shape and kind of every parameter. No torch.

Names and layout are OLMo-core's, with each bank of experts as one tensor:

    embeddings.weight                                     (vocab_size, d_model)
    blocks.N.attention_norm.weight                        (d_model,)
    blocks.N.attention.w_q.weight, w_k, w_v               (heads * head_dim, d_model)
    blocks.N.attention.q_norm.weight, k_norm              (head_dim,) or (heads * head_dim,)
    blocks.N.attention.w_out.weight                       (d_model, heads * head_dim)
    blocks.N.feed_forward_norm.weight                     (d_model,)
    blocks.N.feed_forward_moe.router.weight               (num_experts, d_model)
    blocks.N.feed_forward_moe.experts.mlp.w1, w3          (num_experts, d_model, expert_hidden_size): gate and up
    blocks.N.feed_forward_moe.experts.mlp.w2              (num_experts, expert_hidden_size, d_model): down
    lm_head.norm.weight, lm_head.w_out.weight             (d_model,), (vocab_size, d_model)

An element's value follows from its row-major index, so OLMo-core's flattened (num_experts * d_model, hidden) bank and
its flattened router, which have the same names, get the same bits.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.resources import files
from math import prod
from typing import Literal

from fastinit.shard.geometry import Shape


class Kind(Enum):
    """What a parameter is for; the value is how a table calls it."""

    EMBEDDING = "embedding"
    ATTENTION_IN = "attention q, k, v"
    ATTENTION_OUT = "attention out"
    ROUTER = "router"
    EXPERT_W1 = "expert w1 (gate)"
    EXPERT_W2 = "expert w2 (down)"
    EXPERT_W3 = "expert w3 (up)"
    NORM = "norm"
    FINAL_OUTPUT = "final output"


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One parameter of a model; ``block`` is the index of its block, or None outside of the blocks."""

    name: str
    shape: Shape
    kind: Kind
    block: int | None = None

    @property
    def numel(self) -> int:
        """Its number of elements."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Preset:
    """The published sizes of one architecture; ``parameters`` is the number that its authors' files hold."""

    name: str
    model: str
    sources: tuple[str, ...]
    parameters: int
    dtype: str
    vocab_size: int
    d_model: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    qk_norm: Literal["none", "each_head", "all_heads"]
    num_experts: int
    expert_hidden_size: int

    def specs(self, layers: int | None = None) -> list[ParameterSpec]:
        """Every parameter in the order of the model, with the first ``layers`` blocks, or all of them.

        >>> preset("olmoe-1b-7b").specs()[0]
        ParameterSpec(name='embeddings.weight', shape=(50304, 2048), kind=<Kind.EMBEDDING: 'embedding'>, block=None)

        Raises ``ValueError`` unless ``layers`` is in [0, num_layers].
        """
        layers = self.num_layers if layers is None else layers
        if not 0 <= layers <= self.num_layers:
            raise ValueError(f"layers: expected at most the {self.num_layers} of {self.name}, got {layers}")
        table = (self.vocab_size, self.d_model)
        return [
            ParameterSpec("embeddings.weight", table, Kind.EMBEDDING),
            *(spec for block in range(layers) for spec in self._block(block)),
            ParameterSpec("lm_head.norm.weight", (self.d_model,), Kind.NORM),
            ParameterSpec("lm_head.w_out.weight", table, Kind.FINAL_OUTPUT),
        ]

    def _block(self, block: int) -> Iterator[ParameterSpec]:
        d_model, hidden, experts = self.d_model, self.expert_hidden_size, self.num_experts
        queries, keys = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim

        def spec(name: str, shape: Shape, kind: Kind) -> ParameterSpec:
            return ParameterSpec(f"blocks.{block}.{name}", shape, kind, block)

        yield spec("attention_norm.weight", (d_model,), Kind.NORM)
        yield spec("attention.w_q.weight", (queries, d_model), Kind.ATTENTION_IN)
        yield spec("attention.w_k.weight", (keys, d_model), Kind.ATTENTION_IN)
        yield spec("attention.w_v.weight", (keys, d_model), Kind.ATTENTION_IN)
        yield spec("attention.w_out.weight", (d_model, queries), Kind.ATTENTION_OUT)
        if self.qk_norm != "none":
            each_head = self.qk_norm == "each_head"
            yield spec("attention.q_norm.weight", (self.head_dim if each_head else queries,), Kind.NORM)
            yield spec("attention.k_norm.weight", (self.head_dim if each_head else keys,), Kind.NORM)
        yield spec("feed_forward_norm.weight", (d_model,), Kind.NORM)
        yield spec("feed_forward_moe.router.weight", (experts, d_model), Kind.ROUTER)
        yield spec("feed_forward_moe.experts.mlp.w1", (experts, d_model, hidden), Kind.EXPERT_W1)
        yield spec("feed_forward_moe.experts.mlp.w2", (experts, hidden, d_model), Kind.EXPERT_W2)
        yield spec("feed_forward_moe.experts.mlp.w3", (experts, d_model, hidden), Kind.EXPERT_W3)


@cache
def presets() -> dict[str, Preset]:
    """All presets by name, from presets.json.

    >>> sorted(presets())
    ['mixtral-8x7b', 'olmoe-1b-7b', 'qwen3-30b-a3b', 'tiny-moe']
    """
    table = json.loads((files("fastinit.model") / "presets.json").read_text("utf-8"))
    return {name: Preset(name=name, **{**row, "sources": tuple(row["sources"])}) for name, row in table.items()}


def preset(name: str) -> Preset:
    """The preset called ``name``.

    >>> preset("mixtral-8x7b").num_experts
    8

    Raises ``ValueError``, with all the names, for one that is not there.
    """
    try:
        return presets()[name]
    except KeyError:
        raise ValueError(f"preset: expected one of {', '.join(presets())}, got {name!r}") from None
