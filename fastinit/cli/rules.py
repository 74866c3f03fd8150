"""From a parameter of a preset to the law it is filled with."""

from fastinit.distributions import Distribution, Normal, TruncatedNormal
from fastinit.presets import Kind, ParameterSpec, Preset

METHODS = ("normal", "normalized", "llama", "llama_depth", "fan_in")

_DEPTH_SCALED = {
    "llama": {Kind.ATTENTION_OUT, Kind.ROUTER, Kind.EXPERT_W1, Kind.EXPERT_W2, Kind.EXPERT_W3},
    "llama_depth": {Kind.ATTENTION_OUT, Kind.ROUTER, Kind.EXPERT_W1, Kind.EXPERT_W2, Kind.EXPERT_W3},
    "normalized": {Kind.ATTENTION_OUT},
}


def rule_for(spec: ParameterSpec, preset: Preset, method: str, std: float) -> Distribution | None:
    """The law of one parameter; None for a norm's weight, which is filled with ones.

    The number of blocks is the whole model's, however few are filled: a block's values do not depend on the others.
    """
    if spec.kind is Kind.NORM:
        return None
    d_model = preset.d_model
    if spec.kind is Kind.EMBEDDING and method != "normal":
        return Normal(0.0, d_model**-0.5 if method == "normalized" else 1.0)
    if spec.kind is Kind.FINAL_OUTPUT and method != "normal":
        std = d_model**-0.5
    elif method == "fan_in":
        std = _fan_in(spec) ** -0.5
    elif method == "normalized" and spec.kind in (Kind.ATTENTION_IN, Kind.ATTENTION_OUT):
        std = d_model**-0.5
    if spec.block is not None and spec.kind in _DEPTH_SCALED.get(method, ()):
        std /= (2 * (spec.block + 1 if method == "llama_depth" else preset.num_layers)) ** 0.5
    return TruncatedNormal(0.0, std, -3 * std, 3 * std)


def _fan_in(spec: ParameterSpec) -> int:
    """Inputs of one output: the middle dimension of a bank (expert, in, out), the last of a linear weight (out, in)."""
    return spec.shape[1]
