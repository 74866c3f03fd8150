"""Models of torchtitan and of timm in small sizes, imported without what they need for data, images and logs."""

import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

from torch import nn

_TORCHVISION = ("", ".ops", ".ops.misc", ".transforms", ".transforms.functional", ".datasets")


@contextmanager
def _torchvision() -> Iterator[None]:
    """A stand-in while timm is imported. Its models need nothing of torchvision but a class that they ask of layers.

    PyPI's torchvision does not load beside the CPU build of torch, and transformers and peft import it where it is installed.
    """
    parts = {f"torchvision{name}": mock.MagicMock() for name in _TORCHVISION}
    parts["torchvision.ops.misc"].FrozenBatchNorm2d = type("FrozenBatchNorm2d", (nn.Module,), {})
    sys.modules.update(parts)
    try:
        yield
    finally:
        for name in parts:
            del sys.modules[name]


with _torchvision():
    import timm
with warnings.catch_warnings():
    # torchtitan compiles its attention when it is imported, and torch's compiler imports what torch has deprecated.
    warnings.filterwarnings("ignore", "`torch.jit.script_method` is deprecated", DeprecationWarning)
    from torchtitan.config import CompileConfig, ParallelismConfig, TrainingConfig
    from torchtitan.distributed import parallel_dims
    from torchtitan.distributed.utils import set_spmd_backend
    from torchtitan.models import deepseek_v3, gpt_oss, llama3, qwen3
    from torchtitan.models.deepseek_v3.parallelize import parallelize_deepseekv3
    from torchtitan.models.deepseek_v3.sharding import set_deepseek_v3_sharding_config
    from torchtitan.models.gpt_oss.parallelize import parallelize_gptoss
    from torchtitan.models.gpt_oss.sharding import set_gpt_oss_sharding_config
    from torchtitan.models.llama3.parallelize import parallelize_llama
    from torchtitan.models.llama3.sharding import set_llama3_sharding_config
    from torchtitan.models.qwen3.parallelize import parallelize_qwen3
    from torchtitan.models.qwen3.sharding import set_qwen3_sharding_config
with warnings.catch_warnings():
    # Megatron-core tells of each package for GPUs that is not there, and of imports of its own that it has deprecated.
    warnings.filterwarnings("ignore", module=r"megatron\.core\.")
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.models.gpt.gpt_model import GPTModel
    from megatron.core.transformer.transformer_config import TransformerConfig


DIM, VOCABULARY, BLOCKS = 16, 32, 2
_HEADS = dict(n_heads=4, n_kv_heads=2, n_layers=BLOCKS, dim=DIM)
EXPERT_PARALLEL = dict(enable_sp=True, enable_ep=True)


def _small(config: Any, layers: list[Any], declare: Callable[[Any], None]) -> nn.Module:
    """torchtitan's debug model with other layers, and the rest as small as they are; it is declared how `parallelize` shards it."""
    config.dim, config.vocab_size, config.layers = DIM, VOCABULARY, layers
    config.tok_embeddings = replace(config.tok_embeddings, num_embeddings=VOCABULARY, embedding_dim=DIM)
    config.norm = replace(config.norm, normalized_shape=DIM)
    config.lm_head = replace(config.lm_head, in_features=DIM, out_features=VOCABULARY)
    declare(config)
    return config.build()


def _rope(config: Any, dim: int) -> Any:
    return replace(config.layers[0].attention.rope, dim=dim)


def titan_llama3(fused: bool = True) -> nn.Module:
    config: Any = llama3.llama3_configs["debugmodel"]("flex")
    rope = _rope(config, 4)
    layers = llama3._build_llama3_layers(**_HEADS, hidden_dim=24, rope=rope, fuse_qkv=fused, attn_backend="flex")
    return _small(config, layers, partial(set_llama3_sharding_config, enable_sp=True))


def titan_qwen3() -> nn.Module:
    config: Any = qwen3.qwen3_configs["debugmodel_moe"]("flex")
    experts = dict(moe_hidden_dim=12, num_experts=4, top_k=2, moe_comm_backend="standard")
    rope = _rope(config, 4)
    layers = qwen3._build_qwen3_moe_layers(**_HEADS, **experts, head_dim=4, rope=rope, attn_backend="flex")
    return _small(config, layers, partial(set_qwen3_sharding_config, **EXPERT_PARALLEL))


def titan_deepseek_v3() -> nn.Module:
    config: Any = deepseek_v3.deepseekv3_configs["debugmodel"]("flex", "standard")
    heads = dict(
        n_heads=4, q_lora_rank=0, kv_lora_rank=8, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=4, mscale=0.7
    )
    experts = dict(dense_hidden_dim=24, moe_hidden_dim=12, num_experts=4, num_shared_experts=1, router_top_k=2)
    layers = deepseek_v3._build_dsv3_layers(
        n_layers=BLOCKS,
        n_dense_layers=1,
        dim=DIM,
        **heads,
        **experts,
        router_score_func="softmax",
        attn_backend="flex",
        moe_comm_backend="standard",
        non_blocking_capacity_factor=None,
        rope=_rope(config, 4),
    )
    return _small(config, layers, partial(set_deepseek_v3_sharding_config, **EXPERT_PARALLEL))


def titan_gpt_oss() -> nn.Module:
    config: Any = gpt_oss.gptoss_configs["debugmodel"]("standard", "flex")
    rope = _rope(config, 4)
    experts = dict(hidden_dim=12, num_experts=4, top_k=2, load_balance_coeff=1e-3, moe_comm_backend="standard")
    sizes = dict(dim=DIM, fuse_qkv=True, attn_backend="flex", rope=rope)
    layers = gpt_oss._build_gptoss_layers(n_layers=BLOCKS, **sizes, **experts)
    for number, layer in enumerate(layers):  # its builder has 64 heads of 64
        layer.attention = gpt_oss._make_gptoss_attn_config(
            layer_id=number, n_heads=4, n_kv_heads=2, head_dim=4, **sizes
        )
    return _small(config, layers, partial(set_gpt_oss_sharding_config, **EXPERT_PARALLEL))


TORCHTITAN: dict[str, Callable[[], nn.Module]] = {
    "titan_llama3": titan_llama3,
    "titan_qwen3": titan_qwen3,
    "titan_deepseek_v3": titan_deepseek_v3,
    "titan_gpt_oss": titan_gpt_oss,
}
_PARALLELIZE: dict[str, Callable[..., nn.Module]] = {
    "titan_llama3": parallelize_llama,
    "titan_qwen3": parallelize_qwen3,
    "titan_deepseek_v3": parallelize_deepseekv3,
    "titan_gpt_oss": parallelize_gptoss,
}


def parallelized(name: str, model: nn.Module, world_size: int, backend: str, **degrees: int) -> nn.Module:
    """The model as torchtitan shards it, over the CPUs of a world; its default backend, spmd_types, needs a newer torch."""
    parallel_dims.device_type = "cpu"  # else that of a GPU, which it takes for granted
    set_spmd_backend(backend)
    parallelism = ParallelismConfig(spmd_backend=backend, **degrees)
    return _PARALLELIZE[name](
        model,
        parallel_dims=parallel_dims.ParallelDims.from_config(parallelism, world_size),
        training=TrainingConfig(),
        parallelism=parallelism,
        compile_config=CompileConfig(enable=False),
        ac_config=None,
        dump_folder="",
    )


TIMM: dict[str, Callable[[], nn.Module]] = {
    "timm_vit": partial(
        timm.create_model,
        "vit_tiny_patch16_224",
        img_size=16,
        patch_size=8,
        embed_dim=16,
        depth=2,
        num_heads=2,
        num_classes=4,
    ),
    "timm_convnext": partial(timm.create_model, "convnext_atto", dims=(4, 4, 8, 8), depths=(1, 1, 1, 1), num_classes=4),
}


def megatron(experts: int, **parallel: int) -> nn.Module:
    """A tiny mixture-of-experts GPT of Megatron-core, on the CPU, or a rank's part of one; its process groups must be there."""
    heads = dict(num_attention_heads=4, num_query_groups=2)
    config = TransformerConfig(
        num_layers=BLOCKS,
        hidden_size=DIM,
        **heads,
        ffn_hidden_size=24,
        num_moe_experts=experts,
        moe_ffn_hidden_size=24,
        moe_router_topk=2,
        use_cpu_initialization=True,
        add_bias_linear=False,
        gated_linear_unit=True,
        normalization="RMSNorm",
        **parallel,
    )
    layer = get_gpt_layer_local_spec(num_experts=experts, moe_grouped_gemm=False, normalization="RMSNorm")
    return GPTModel(config=config, transformer_layer_spec=layer, vocab_size=VOCABULARY, max_sequence_length=16)


def global_expert(name: str, first: int) -> str:
    """The name of an expert of Megatron-core's where all are counted, from that on one rank."""
    return re.sub(r"(?<=local_experts\.)\d+", lambda found: str(int(found[0]) + first), name)
