"""Small models of the real OLMo-core, one of each kind that can be built on a CPU."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from olmo_core.config import DType
from olmo_core.nn.attention import AttentionBackendName, GateConfig, GateGranularity, kda, recurrent
from olmo_core.nn.moe.moe import LatentMoEConfig
from olmo_core.nn.moe.v2.gpt_oss import build_debug_gpt_oss_20b_config
from olmo_core.nn.moe.v2.nemotron import build_debug_nemotron3_nano_config
from olmo_core.nn.moe.v2.qwen import build_debug_qwen3_moe_config, build_qwen3_moe_config
from olmo_core.nn.transformer import InitMethod, TransformerConfig
from torch import nn

SIZES: dict[str, Any] = dict(d_model=32, n_layers=2, n_heads=4, vocab_size=48, hidden_size_multiple_of=8)
MOE: dict[str, Any] = dict(num_experts=4, top_k=2, expert_hidden_size=24)


def dense() -> TransformerConfig:
    """With biases, a gate, attention sinks and query norms."""
    config = TransformerConfig.llama_like(**SIZES, n_kv_heads=2, qk_norm=True)
    mixer = config.block.sequence_mixer
    mixer.attention_sinks = mixer.bias = True
    mixer.backend = AttentionBackendName.torch
    mixer.gate = GateConfig(granularity=GateGranularity.headwise)
    return config


def moe() -> TransformerConfig:
    return TransformerConfig.llama_like_moe(**SIZES, **MOE, shared_expert_hidden_size=16)


def latent_moe() -> TransformerConfig:
    config = TransformerConfig.llama_like_moe(**SIZES, **MOE, dropless=True, reordered_norm=True)
    config.block.feed_forward_moe.latent_moe = LatentMoEConfig(latent_dim=16, bias=True)
    config.embed_scale = 3.0
    return config


def tied() -> TransformerConfig:
    config = TransformerConfig.llama_like(**SIZES)
    config.tie_word_embeddings, config.embedding_init_std = True, 0.05
    return config


def normalized() -> TransformerConfig:
    return TransformerConfig.ngpt_like(**SIZES)


def moe_v2() -> Any:
    """With biases, attention sinks and a router bias, in bf16, as OLMo-core initialises all of its MoE-v2."""
    return build_debug_gpt_oss_20b_config(
        vocab_size=48, n_layers=2, d_model=32, num_experts=4, moe_intermediate_size=24, init_std=0.02
    )


def recurrent_moe_v2() -> Any:
    """Gated delta nets and full attention, routed and shared experts, each with a router."""
    sizes = dict(vocab_size=48, n_layers=4, d_model=32, num_experts=4)
    hidden = dict(moe_intermediate_size=24, shared_expert_intermediate_size=24)
    return build_debug_qwen3_moe_config(**sizes, **hidden, attention_backend=AttentionBackendName.torch)


def shared_moe_v2() -> Any:
    """Shared experts with a router of their own, and routed experts in a narrower, latent space."""
    sizes = dict(vocab_size=48, n_layers=2, d_model=32, num_experts=4, shared_expert_intermediate_size=24)
    attention = dict(num_attention_heads=4, num_key_value_heads=2, attention_head_dim=8, attention_rotary_dim=4)
    config = build_qwen3_moe_config(
        **sizes,
        **attention,
        moe_intermediate_size=20,
        layer_types=["full_attention"],
        attention_backend=AttentionBackendName.torch,
    )
    block = config.block
    block.latent_moe = LatentMoEConfig(latent_dim=16, bias=True)
    block.routed_experts.d_model = 16
    block.shared_experts.num_experts = block.shared_experts_router.num_experts = 2
    return config


def nemotron() -> Any:
    """Mamba2 and experts in place of attention: blocks that only OLMo-core knows the rules of."""
    return build_debug_nemotron3_nano_config(vocab_size=48, d_model=64, dtype=DType.float32)


def kimi() -> TransformerConfig:
    """Kimi's delta attention, whose rules only OLMo-core knows."""
    config = TransformerConfig.llama_like(**SIZES)
    config.block.sequence_mixer = kda.KimiDeltaAttentionConfig(n_heads=4, dtype=DType.float32)
    return config


MODELS: dict[str, Callable[[], Any]] = {
    function.__name__: function
    for function in (dense, moe, latent_moe, tied, normalized, moe_v2, recurrent_moe_v2, shared_moe_v2, nemotron, kimi)
}


def build(config: Any, method: str | None = None, seed: int = 0, device: str = "cpu") -> nn.Module:
    """The model, with NaN in every parameter."""
    if method is not None:
        config.init_method = InitMethod(method)
    config.init_seed = seed
    with linear_attention(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Grouped GEMM not available")  # it is faster with a kernel that is not needed
        model = config.build(init_device=device)
    for parameter in model.parameters():
        parameter.data.fill_(float("nan"))
    return model


class FusedRMSNormGated(nn.Module):
    """What of flash-linear-attention's layer has to do with initialisation."""

    def __init__(self, size: int, eps: float, device: Any = None, dtype: Any = None, activation: str = "") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)


@contextmanager
def linear_attention() -> Iterator[None]:
    """As if flash-linear-attention were installed, whose kernels need a GPU."""
    fla, modules = ModuleType("fla"), ModuleType("fla.modules")
    modules.FusedRMSNormGated = FusedRMSNormGated  # type: ignore[attr-defined]
    with (
        mock.patch.dict(sys.modules, {"fla": fla, "fla.modules": modules}),
        mock.patch.object(recurrent, "has_fla", return_value=True),
        mock.patch.object(kda, "has_fla", return_value=True),
    ):
        yield
