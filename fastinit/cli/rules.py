"""From a parameter of a preset to the law it is filled with."""

from fastinit.law.distributions import Distribution
from fastinit.law.transformed import Constant
from fastinit.model.presets import ParameterSpec, Preset
from fastinit.model.roles import Role
from fastinit.model.rules import METHODS, Sizes, law_of

__all__ = ["METHODS", "rule_for"]


def rule_for(spec: ParameterSpec, preset: Preset, method: str, std: float) -> Distribution | None:
    """The law of one parameter; None for a norm's weight, which is filled with ones.

    The number of blocks is the whole model's, however few are filled: a block's values do not depend on the others. The
    inputs of one output are the middle dimension of a bank (expert, in, out), and the last of a linear weight (out, in).
    """
    sizes = Sizes(
        std=std,
        d_model=preset.d_model,
        num_blocks=preset.num_layers,
        block=spec.block,
        fan_in=spec.shape[1] if len(spec.shape) > 1 else None,
    )
    law = law_of(method, Role[spec.kind.name], sizes)
    return None if isinstance(law, Constant) else law  # type: ignore[return-value]  # no preset has a recurrence
