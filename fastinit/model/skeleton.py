"""The models of the presets: modules with the published names and shapes, without memory and without a forward pass.

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

import torch
from torch import nn

from fastinit.model.presets import Preset


def build(preset: Preset, layers: int | None = None) -> nn.Module:
    """The preset's model on the meta device, in its dtype, with its first ``layers`` blocks, or all of them.

    >>> model = build(preset("olmoe-1b-7b"), layers=2)
    >>> report = init_model_(model, "llama", seed=0, device="cuda")

    It says ``d_model`` and ``n_layers`` of the whole model, however few blocks it has, so its values are a part of the whole's.

    Raises ``ValueError`` unless ``layers`` is in [0, num_layers].
    """
    layers = preset.num_layers if layers is None else layers
    if not 0 <= layers <= preset.num_layers:
        raise ValueError(f"layers: expected at most the {preset.num_layers} of {preset.name}, got {layers}")
    with torch.device("meta"):
        return _Model(preset, layers).to(getattr(torch, preset.dtype))


def numel(preset: Preset, layers: int) -> int:
    """Elements of a model of so many blocks, which are all alike.

    >>> from fastinit.model.presets import preset
    >>> numel(preset("olmoe-1b-7b"), layers=16)
    6919161856
    """
    rest, with_one = (sum(parameter.numel() for parameter in build(preset, n).parameters()) for n in (0, 1))
    return rest + layers * (with_one - rest)


class _Model(nn.Module):
    def __init__(self, preset: Preset, layers: int) -> None:
        super().__init__()
        self.d_model, self.n_layers = preset.d_model, preset.num_layers
        self.embeddings = nn.Embedding(preset.vocab_size, preset.d_model)
        self.blocks = nn.ModuleList(_Block(preset) for _ in range(layers))
        self.lm_head = nn.Module()
        self.lm_head.norm = nn.RMSNorm(preset.d_model)
        self.lm_head.w_out = _linear(preset.d_model, preset.vocab_size)


class _Block(nn.Module):
    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(preset.d_model)
        self.attention = _Attention(preset)
        self.feed_forward_norm = nn.RMSNorm(preset.d_model)
        self.feed_forward_moe = _FeedForward(preset)


class _Attention(nn.Module):
    def __init__(self, preset: Preset) -> None:
        super().__init__()
        queries, keys = preset.num_heads * preset.head_dim, preset.num_kv_heads * preset.head_dim
        self.w_q = _linear(preset.d_model, queries)
        self.w_k = _linear(preset.d_model, keys)
        self.w_v = _linear(preset.d_model, keys)
        self.w_out = _linear(queries, preset.d_model)
        if preset.qk_norm != "none":
            each_head = preset.qk_norm == "each_head"
            self.q_norm = nn.RMSNorm(preset.head_dim if each_head else queries)
            self.k_norm = nn.RMSNorm(preset.head_dim if each_head else keys)


class _FeedForward(nn.Module):
    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.router = _Router(preset.d_model, preset.num_experts, bias=False)
        self.experts = nn.Module()
        self.experts.mlp = _Experts(preset.num_experts, preset.d_model, preset.expert_hidden_size)


class _Router(nn.Linear):
    @property
    def d_model(self) -> int:
        return self.in_features


class _Experts(nn.Module):
    def __init__(self, num_experts: int, d_model: int, hidden_size: int) -> None:
        super().__init__()
        self.d_model, self.hidden_size = d_model, hidden_size
        self.w1 = nn.Parameter(torch.empty(num_experts, d_model, hidden_size))
        self.w2 = nn.Parameter(torch.empty(num_experts, hidden_size, d_model))
        self.w3 = nn.Parameter(torch.empty(num_experts, d_model, hidden_size))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)
