"""What a parameter is for, and where its number of inputs is found: from its name, by ordered patterns. No tensor, no torch.

A pattern is a parameter's dotted name, in which ``*`` stands for any letters of one part, ``{a,b}`` for either, and the
part ``**`` for any number of parts, none included. The first pattern that matches counts.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache, lru_cache


class Role(Enum):
    """What a parameter is for; the value is how a table calls it.

    >>> roles = [("proj.weight", Role.FINAL_OUTPUT)]
    >>> model = torch.nn.ModuleDict({"proj": torch.nn.Linear(8, 2, bias=False)})
    >>> report = fastinit.init_model_(model, "normal", seed=0, roles=roles)
    """

    EMBEDDING = "embedding"
    FINAL_OUTPUT = "final output"
    ATTENTION_IN = "attention q, k, v"
    ATTENTION_GATE = "attention gate"
    ATTENTION_OUT = "attention out"
    ATTENTION_SINKS = "attention sinks"
    FEED_FORWARD_W1 = "feed-forward w1 (gate)"
    FEED_FORWARD_W3 = "feed-forward w3 (up)"
    FEED_FORWARD_W2 = "feed-forward w2 (down)"
    ROUTER = "router"
    EXPERT_W1 = "expert w1 (gate)"
    EXPERT_W3 = "expert w3 (up)"
    EXPERT_UP_GATE = "expert w1 and w3 in one"
    EXPERT_W2 = "expert w2 (down)"
    LATENT = "latent projection"
    SHARED_EXPERT = "shared experts"
    SHARED_ROUTER = "shared experts' router"
    RECURRENT_IN = "recurrent projection"
    RECURRENT_CONV = "recurrent convolution"
    RECURRENT_OUT = "recurrent out"
    A_LOG = "A_log"
    DT_BIAS = "dt_bias"
    NORM = "norm weight"
    BIAS = "bias"
    SCALE = "scale"
    WIDTH_SCALE = "scale by width"
    TORCH_LINEAR = "torch's linear"
    TORCH_BIAS = "torch's linear bias"
    UNTOUCHED = "untouched"


@dataclass(frozen=True, slots=True)
class Named:
    """The role of the parameters whose name matches a pattern, and where the number of their inputs comes from.

    ``inputs`` is a layout (see shard/fans.py), ".name" for an attribute of the module that owns the parameter,
    "=name" for the inputs of another parameter of that module, or "" for none.
    """

    pattern: str
    role: Role
    inputs: str = ""


# OLMo-core's expert banks are flattened, differently in MoEMLP and DroplessMoEMLP; their module knows its sizes.
OLMO_CORE = (
    Named("embeddings.weight", Role.EMBEDDING),
    Named("lm_head.w_out.weight", Role.FINAL_OUTPUT, "o i"),
    Named("blocks.*.attention.{w_q,w_k,w_v,w_qkv}.weight", Role.ATTENTION_IN, "o i"),
    Named("blocks.*.attention.w_g.weight", Role.ATTENTION_GATE, "o i"),
    Named("blocks.*.attention.w_out.weight", Role.ATTENTION_OUT, "o i"),
    Named("blocks.*.attention.sinks", Role.ATTENTION_SINKS, "=w_out.weight"),
    Named("blocks.*.attention.ssmax_scale", Role.SCALE),
    Named("blocks.*.attention.{w_a,w_b}.weight", Role.RECURRENT_IN, "o i"),
    Named("blocks.*.attention.{q_conv1d,k_conv1d,v_conv1d}.weight", Role.RECURRENT_CONV, "o i k"),
    Named("blocks.*.attention.A_log", Role.A_LOG),
    Named("blocks.*.attention.dt_bias", Role.DT_BIAS),
    Named("blocks.*.feed_forward.w1.weight", Role.FEED_FORWARD_W1, "o i"),
    Named("blocks.*.feed_forward.w3.weight", Role.FEED_FORWARD_W3, "o i"),
    Named("blocks.*.feed_forward.w2.weight", Role.FEED_FORWARD_W2, "o i"),
    Named("blocks.*.feed_forward_moe.router.weight", Role.ROUTER, ".d_model"),
    Named("blocks.*.feed_forward_moe.experts.mlp.w1", Role.EXPERT_W1, ".d_model"),
    Named("blocks.*.feed_forward_moe.experts.mlp.w3", Role.EXPERT_W3, ".d_model"),
    Named("blocks.*.feed_forward_moe.experts.mlp.w2", Role.EXPERT_W2, ".hidden_size"),
    Named("blocks.*.feed_forward_moe.{latent_down_proj,latent_up_proj}.weight", Role.LATENT, "o i"),
    Named("blocks.*.feed_forward_moe.shared_mlp.*.weight", Role.TORCH_LINEAR, "o i"),
    Named("blocks.*.feed_forward_moe.shared_mlp.*.bias", Role.TORCH_BIAS, "=weight"),
    Named("blocks.*.routed_experts_router.weight", Role.ROUTER, ".d_model"),
    Named("blocks.*.shared_experts_router.weight", Role.SHARED_ROUTER, ".d_model"),
    Named("blocks.*.routed_experts.w_up_gate", Role.EXPERT_UP_GATE, "e o i"),
    Named("blocks.*.routed_experts.w_down", Role.EXPERT_W2, "e i o"),
    Named("blocks.*.routed_experts.{b_up_gate,b_down}", Role.BIAS),
    Named("blocks.*.shared_experts.w_up_gate", Role.SHARED_EXPERT, "i (e o)"),
    Named("blocks.*.shared_experts.w_down", Role.SHARED_EXPERT, "e i o"),
    Named("blocks.*.{latent_down_proj,latent_up_proj}.weight", Role.LATENT, "o i"),
    Named("blocks.*.{attn_alpha,mlp_alpha}", Role.WIDTH_SCALE),
    Named("blocks.*.attention.{sq,sk}", Role.WIDTH_SCALE),
    Named("blocks.*.feed_forward.{sw1,sw3}", Role.SCALE),
    Named("lm_head.sz", Role.WIDTH_SCALE),
)

HUGGING_FACE = (
    Named("**.embed_tokens.weight", Role.EMBEDDING),
    Named("lm_head.weight", Role.FINAL_OUTPUT, "o i"),
    Named("**.layers.*.self_attn.{q_proj,k_proj,v_proj}.weight", Role.ATTENTION_IN, "o i"),
    Named("**.layers.*.self_attn.o_proj.weight", Role.ATTENTION_OUT, "o i"),
    Named("**.layers.*.mlp.gate_proj.weight", Role.FEED_FORWARD_W1, "o i"),
    Named("**.layers.*.mlp.up_proj.weight", Role.FEED_FORWARD_W3, "o i"),
    Named("**.layers.*.mlp.down_proj.weight", Role.FEED_FORWARD_W2, "o i"),
    Named("**.layers.*.{mlp,block_sparse_moe}.gate.weight", Role.ROUTER, "o i"),
    Named("**.layers.*.mlp.experts.gate_up_proj", Role.EXPERT_UP_GATE, "e o i"),
    Named("**.layers.*.mlp.experts.down_proj", Role.EXPERT_W2, "e o i"),
    Named("**.layers.*.{mlp,block_sparse_moe}.experts.*.{gate_proj,w1}.weight", Role.EXPERT_W1, "o i"),
    Named("**.layers.*.{mlp,block_sparse_moe}.experts.*.{up_proj,w3}.weight", Role.EXPERT_W3, "o i"),
    Named("**.layers.*.{mlp,block_sparse_moe}.experts.*.{down_proj,w2}.weight", Role.EXPERT_W2, "o i"),
)

TORCHTITAN = (
    Named("tok_embeddings.weight", Role.EMBEDDING),
    Named("{output,lm_head}.weight", Role.FINAL_OUTPUT, "o i"),
    Named("layers.*.attention.{wq,wk,wv}.weight", Role.ATTENTION_IN, "o i"),
    Named("layers.*.attention.wo.weight", Role.ATTENTION_OUT, "o i"),
    Named("layers.*.feed_forward.w1.weight", Role.FEED_FORWARD_W1, "o i"),
    Named("layers.*.feed_forward.w3.weight", Role.FEED_FORWARD_W3, "o i"),
    Named("layers.*.feed_forward.w2.weight", Role.FEED_FORWARD_W2, "o i"),
    Named("layers.*.moe.router.gate.weight", Role.ROUTER, "o i"),
    Named("layers.*.moe.experts.w1", Role.EXPERT_W1, "e o i"),
    Named("layers.*.moe.experts.w3", Role.EXPERT_W3, "e o i"),
    Named("layers.*.moe.experts.w2", Role.EXPERT_W2, "e o i"),
    Named("layers.*.moe.shared_experts.{w1,w2,w3}.weight", Role.SHARED_EXPERT, "o i"),
)

# A bias that belongs to an unknown layer is caught by that layer's weight.
_ANYWHERE = (Named("**.*norm.weight", Role.NORM), Named("**.bias", Role.BIAS))

BUILT_IN = (*OLMO_CORE, *HUGGING_FACE, *TORCHTITAN, *_ANYWHERE)  # none of which knows numbers

# Models of transformers whose norms multiply by their weight. Others have the same names and add 1 to it, or have other
# layers: their map is `roles=` of the caller's making, perhaps with HUGGING_FACE in it.
HUGGING_FACE_MODELS = frozenset(
    {"mixtral", "qwen3_moe", "olmoe", "llama", "mistral", "qwen2", "qwen3", "olmo2", "olmo3"}
)


class Patterns:
    """The patterns for a model, in their order: the caller's own first, then those that are built in.

    ``model_types`` is what models of transformers call themselves in their config; there are none for other models.
    ``know_numbers``: whether one of them may match a name and not another that differs in numbers alone.
    """

    def __init__(self, model_types: set[str], first: tuple[Named, ...] = ()) -> None:
        known = model_types <= HUGGING_FACE_MODELS
        self._patterns = (*first, *(BUILT_IN if known else ()))
        self._either = _either(self._patterns)
        self.know_numbers = any(map(_knows_numbers, first))

    def of(self, name: str) -> Named | None:
        """The first that matches a name."""
        match = self._either.fullmatch(name) if self._patterns else None
        return match and self._patterns[(match.lastindex or 0) - 1]


def named_by(names: Iterable[str], model_types: set[str], first: tuple[Named, ...] = ()) -> dict[str, Named | None]:
    """The pattern that each name matches, or None.

    >>> named_by(["blocks.0.attention.w_out.weight", "blocks.0.mixer.D"], set())["blocks.0.mixer.D"] is None
    True
    """
    patterns = Patterns(model_types, first)
    return {name: patterns.of(name) for name in names}


@lru_cache(maxsize=64)
def _either(patterns: tuple[Named, ...]) -> re.Pattern[str]:
    """One alternation with a group a pattern."""
    return re.compile("|".join(f"({_expression(named.pattern)})" for named in patterns))


def role_of(name: str) -> str:
    """What a parameter is for, by its name alone; one that no pattern knows is for what those are that differ in numbers alone.

    >>> role_of("model.layers.3.mlp.down_proj.weight"), role_of("blocks.7.mixer.D")
    ('feed-forward w2 (down)', 'blocks.0.mixer.D')
    """
    return _role_of(without_numbers(name))


@cache
def _role_of(like: str) -> str:
    match = named_by([like], set())[like]
    return match.role.value if match is not None else like


def without_numbers(name: str) -> str:
    """A parameter's name with 0 for each part that is a number.

    >>> without_numbers("model.layers.13.mlp.experts.7.w1.weight")
    'model.layers.0.mlp.experts.0.w1.weight'
    """
    return ".".join(["0" if part.isdecimal() else part for part in name.split(".")])


def _knows_numbers(named: Named) -> bool:
    """Whether a pattern may match one number and not another; one without a number of its own matches all or none."""
    return any(piece.isdecimal() for piece in re.split(r"[.*{},]", named.pattern))


def matches(pattern: str, name: str) -> bool:
    """Whether a parameter's name matches a pattern.

    >>> matches("**.layers.*.mlp.{gate,up}_proj.weight", "model.layers.3.mlp.up_proj.weight")
    True
    """
    return _compiled(pattern).fullmatch(name) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(_expression(pattern))


def _expression(pattern: str) -> str:
    """The pattern as a regular expression, without groups that capture."""
    translated = {"**.": r"(?:[^.]+\.)*", "*": r"[^.]*", "{": "(?:", "}": ")", ",": "|"}
    pieces = re.split(r"(\*\*\.|[*{},])", pattern)
    return "".join(translated.get(piece, re.escape(piece)) for piece in pieces)
