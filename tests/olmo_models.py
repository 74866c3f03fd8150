"""Small models of the real OLMo-core, one of each kind that can be built on a CPU, and what to fill them with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from olmo_core.config import DType
from olmo_core.nn.attention import AttentionBackendName, GateConfig, GateGranularity
from olmo_core.nn.ddp import OLMoDDPModelConfig, OLMoDDPTransformerBlockConfig
from olmo_core.nn.moe.moe import LatentMoEConfig
from olmo_core.nn.moe.v2.gpt_oss import build_debug_gpt_oss_20b_config
from olmo_core.nn.moe.v2.nemotron import build_debug_nemotron3_nano_config
from olmo_core.nn.moe.v2.qwen import build_debug_qwen3_moe_config
from olmo_core.nn.transformer import TransformerConfig

SIZES: dict[str, Any] = dict(d_model=32, n_layers=2, n_heads=4, vocab_size=48, n_kv_heads=2)
