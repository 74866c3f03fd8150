"""Published mixture-of-experts architectures: the sizes that their authors give. skeleton.py makes models of them."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal


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
