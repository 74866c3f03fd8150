"""Tiny models of transformers, by the name of their architecture: mixtures of experts, and all else."""

from typing import Any

import transformers
from torch import nn

Sizes = dict[str, Any]

DECODER: Sizes = dict(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=64,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
EXPERTS: Sizes = DECODER | dict(
    moe_intermediate_size=16,
    num_experts=4,
    num_local_experts=4,
    n_routed_experts=4,
    num_experts_per_tok=2,
    n_group=1,
    topk_group=1,
)
LATENT: Sizes = EXPERTS | dict(
    q_lora_rank=16, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8, first_k_dense_replace=1
)
LINEAR: Sizes = dict(
    linear_num_key_heads=2,
    linear_num_value_heads=4,
    linear_key_head_dim=8,
    linear_value_head_dim=8,
    layer_types=["linear_attention", "full_attention"],
)
MAMBA: Sizes = dict(
    mamba_d_state=8, mamba_d_conv=4, mamba_expand=2, mamba_n_heads=8, mamba_d_head=8, mamba_n_groups=1, mamba_dt_rank=4
)
SEQ2SEQ: Sizes = dict(
    vocab_size=96,
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=48,
    decoder_ffn_dim=48,
    max_position_embeddings=64,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    decoder_start_token_id=2,
)
T5: Sizes = dict(vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_decoder_layers=2, num_heads=4)
IMAGE: Sizes = DECODER | dict(image_size=16, patch_size=8)

MOE: dict[str, Sizes] = {
    "afmoe": EXPERTS | dict(num_dense_layers=1),
    "cohere2_moe": EXPERTS,
    "dbrx": dict(
        vocab_size=96,
        d_model=32,
        n_heads=4,
        n_layers=2,
        max_seq_len=64,
        attn_config=dict(kv_n_heads=2, rope_theta=10000.0),
        ffn_config=dict(ffn_hidden_size=48, moe_num_experts=4, moe_top_k=2, hidden_size=32),
    ),
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "deepseek_v32": LATENT,
    "dots1": EXPERTS | dict(first_k_dense_replace=1, n_shared_experts=1),
    "ernie4_5_moe": EXPERTS | dict(moe_num_experts=4, moe_k=2),
    "exaone_moe": EXPERTS,
    "flex_olmo": EXPERTS,
    "glm4_moe": EXPERTS,
    "glm4_moe_lite": LATENT,
    "glm_moe_dsa": LATENT,
    "gpt_oss": EXPERTS,
    "granitemoe": EXPERTS,
    "granitemoehybrid": EXPERTS | MAMBA | dict(layer_types=["mamba", "attention"]),
    "granitemoeshared": EXPERTS,
    "hunyuan_v1_moe": EXPERTS | dict(moe_topk=2),
    "jamba": EXPERTS | MAMBA | dict(attn_layer_period=2, attn_layer_offset=1, use_mamba_kernels=False),
    "jetmoe": EXPERTS | dict(kv_channels=8),
    "lfm2_moe": EXPERTS | dict(num_dense_layers=1, layer_types=["conv", "full_attention"]),
    "llama4_text": EXPERTS,
    "longcat_flash": LATENT,
    "minimax": EXPERTS | dict(layer_types=["linear_attention", "full_attention"]),
    "minimax_m2": EXPERTS,
    "mixtral": EXPERTS,
    "nemotron_h": EXPERTS | dict(mamba_num_heads=4, mamba_head_dim=8, ssm_state_size=8, n_groups=1),
    "nllb-moe": SEQ2SEQ | dict(num_experts=4, encoder_sparse_step=2, decoder_sparse_step=2),
    "olmoe": EXPERTS,
    "phimoe": EXPERTS,
    "qwen2_moe": EXPERTS | dict(shared_expert_intermediate_size=16),
    "qwen3_5_moe_text": EXPERTS | LINEAR | dict(shared_expert_intermediate_size=16),
    "qwen3_moe": EXPERTS,
    "qwen3_next": EXPERTS | LINEAR | dict(shared_expert_intermediate_size=16),
    "solar_open": EXPERTS,
    "switch_transformers": T5 | dict(num_experts=4, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1),
}
OTHERS: dict[str, Sizes] = {
    # decoders
    "bloom": DECODER | dict(n_layer=2, n_head=4),
    "cohere2": DECODER,
    "falcon": dict(vocab_size=96, hidden_size=32, num_hidden_layers=2, num_attention_heads=4),
    "gemma2": DECODER,
    "gemma3_text": DECODER,
    "gpt2": DECODER | dict(n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "gpt_neox": DECODER,
    "gptj": DECODER | dict(n_embd=32, n_layer=2, n_head=4, rotary_dim=4, n_positions=64),
    "llama": DECODER,
    "mistral": DECODER,
    "mpt": DECODER | dict(d_model=32, n_heads=4, n_layers=2),
    "olmo2": DECODER,
    "opt": DECODER | dict(ffn_dim=48, word_embed_proj_dim=32),
    "phi3": DECODER,
    "qwen3": DECODER,
    "starcoder2": DECODER,
    "xlm": DECODER | dict(emb_dim=32, n_layers=2, n_heads=4),
    # state spaces and recurrences
    "bamba": DECODER | MAMBA | dict(attn_layer_indices=[1]),
    "falcon_h1": DECODER | MAMBA | dict(mamba_d_ssm=64),
    "mamba": DECODER | dict(state_size=8, time_step_rank=4),
    "mamba2": DECODER | dict(state_size=8, num_heads=8, head_dim=8, n_groups=1, expand=2),
    "recurrent_gemma": DECODER | dict(lru_width=32, block_types=["recurrent", "attention"]),
    "rwkv": DECODER | dict(attention_hidden_size=32, context_length=64),
    "xlstm": DECODER | dict(num_blocks=2, num_heads=4, num_attention_heads=4),
    "zamba": DECODER | MAMBA | dict(n_mamba_heads=2, num_hidden_layers=3, layer_types=["mamba", "hybrid", "hybrid"]),
    "zamba2": DECODER
    | MAMBA
    | dict(n_mamba_heads=8, mamba_ngroups=1, num_hidden_layers=3, layer_types=["mamba", "hybrid", "hybrid"]),
    # encoders
    "albert": DECODER | dict(embedding_size=16),
    "bert": DECODER,
    "deberta-v2": DECODER | dict(relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"]),
    "distilbert": DECODER | dict(dim=32, hidden_dim=48, n_layers=2, n_heads=4),
    "electra": DECODER | dict(embedding_size=16),
    "funnel": dict(
        vocab_size=96, d_model=32, n_head=4, d_head=8, d_inner=48, block_sizes=[1, 1], architectures=["FunnelModel"]
    ),
    "modernbert": DECODER | dict(cls_token_id=1, sep_token_id=2),
    "roberta": DECODER,
    # encoders with decoders
    "bart": SEQ2SEQ,
    "longt5": T5,
    "m2m_100": SEQ2SEQ,
    "mt5": T5,
    "pegasus": SEQ2SEQ,
    "t5": T5,
    # vision
    "aimv2_vision_model": IMAGE,
    "beit": IMAGE,
    "clip": dict(text_config=DECODER, vision_config=IMAGE, projection_dim=16),
    "convnext": dict(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
    "dinov2": IMAGE,
    "mobilevit": dict(hidden_sizes=[8, 8, 8], neck_hidden_sizes=[8] * 7, num_attention_heads=2),
    "siglip": dict(text_config=DECODER | dict(projection_size=16), vision_config=IMAGE),
    "swin": dict(image_size=32, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4),
    "vit": IMAGE,
    # audio
    "wav2vec2": DECODER
    | dict(
        conv_dim=[8, 8],
        conv_kernel=[3, 3],
        conv_stride=[2, 2],
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    ),
    "whisper": SEQ2SEQ | dict(num_mel_bins=8, max_source_positions=32, max_target_positions=32),
}
TINY = MOE | OTHERS
HEADS = (
    transformers.AutoModelForSeq2SeqLM,
    transformers.AutoModelForSpeechSeq2Seq,
    transformers.AutoModelForCausalLM,
    transformers.AutoModel,
)


def config_of(name: str, **options: Any) -> transformers.PretrainedConfig:
    """The configuration of a tiny model."""
    return transformers.AutoConfig.for_model(name, **TINY[name], **options)


def model_of(config: transformers.PretrainedConfig) -> nn.Module:
    """A model with a head, where it has one for language."""
    for auto in HEADS:
        if type(config) in auto._model_mapping:
            return auto.from_config(config)
    raise KeyError(config.model_type)
