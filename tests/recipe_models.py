"""Small models of frameworks, and one written by hand, by the functions that build them: for the tests of recipes on meshes."""

from collections.abc import Callable
from typing import Any

import frameworks
import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

SIZES: dict[str, Any] = dict(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=24,
    moe_intermediate_size=12,
    shared_expert_intermediate_size=12,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=4,
    num_experts=4,
    num_local_experts=4,
    n_routed_experts=4,
    num_experts_per_tok=2,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=None,
)
LATENT = dict(
    kv_lora_rank=8, q_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=4, n_group=1, topk_group=1
)
LINEAR = dict(
    linear_num_value_heads=4,
    linear_num_key_heads=2,
    linear_key_head_dim=4,
    linear_value_head_dim=4,
    num_hidden_layers=4,
)
OTHERS: dict[str, dict[str, Any]] = {  # beside SIZES
    "bert": dict(max_position_embeddings=16, pad_token_id=0, is_decoder=True),
    "deepseek_v3": dict(LATENT, first_k_dense_replace=1, num_key_value_heads=4),
    "gpt2": dict(n_embd=16, n_layer=2, n_head=4, n_positions=16),
    "gpt_oss": {},
    "llama": dict(tie_word_embeddings=True),
    "mamba2": dict(num_heads=8, head_dim=4, state_size=4, n_groups=2),
    "mixtral": {},
    "olmoe": {},
    "qwen3_moe": {},
    "qwen3_next": LINEAR,
    "t5": dict(d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4),
    "vit": dict(image_size=8, patch_size=4),
}


def hugging_face(kind: str) -> nn.Module:
    """A model of transformers, with a head where it has a language model's."""
    config = transformers.AutoConfig.for_model(kind, **{**SIZES, **OTHERS[kind]})
    maker = transformers.AutoModel if kind in ("t5", "vit") else transformers.AutoModelForCausalLM
    return maker.from_config(config)


class ByHand(nn.Module):
    """What people write: loops over experts, chunks, a padding row, a fused bias, computed values, a whole matrix at once."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 8, padding_idx=1)
        self.experts = nn.Parameter(torch.empty(4, 6, 8))
        self.qkv = nn.Parameter(torch.empty(24, 8))
        self.fused_bias = nn.Parameter(torch.empty(16))
        self.A_log = nn.Parameter(torch.empty(8))
        self.decay = nn.Parameter(torch.empty(8))
        self.orthogonal = nn.Parameter(torch.empty(8, 6))
        self.normed = weight_norm(nn.Linear(8, 6))
        self.bank = nn.ModuleList(nn.Linear(8, 4, bias=False) for _ in range(4))
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """As a model's own."""
        self.embedding.reset_parameters()
        for number, expert in enumerate(self.experts):
            nn.init.normal_(expert, std=0.1 * (number + 1))
        for part in self.qkv.chunk(3):
            nn.init.xavier_uniform_(part)
        self.fused_bias.copy_(torch.cat([torch.zeros(8), torch.rand(8)]))
        self.A_log.copy_(torch.log(torch.arange(1, 9, dtype=torch.float32)))
        self.decay.copy_(torch.log(torch.empty(8).uniform_(1, 16)))
        nn.init.orthogonal_(self.orthogonal)
        made: Any = self.normed.parametrizations.weight
        nn.init.normal_(made.original1, std=0.1)
        made.original0.copy_(norms(made.original1))
        nn.init.zeros_(self.normed.bias)
        for layer in self.bank:
            nn.init.normal_(layer.weight, std=0.02)


def norms(weight: Tensor) -> Tensor:
    """Of each row."""
    return weight.square().sum(1, keepdim=True).sqrt()


MODELS: dict[str, Callable[[], nn.Module]] = {
    **{kind: lambda kind=kind: hugging_face(kind) for kind in OTHERS},
    **frameworks.TORCHTITAN,
    **frameworks.TIMM,
    "by_hand": ByHand,
}
