"""What of OLMo-core and torch is replaced, and whether it is what is known of OLMo-core 3.0.0 and torch 2.11 to 2.13."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torch import nn

from fastinit.law.transformed import InverseSoftplusOfLogUniform, LogOfUniform, Transformed

_INIT_SIGNATURES = {
    "_no_grad_trunc_normal_": ("tensor", "mean", "std", "a", "b", "generator"),
    "_no_grad_normal_": ("tensor", "mean", "std", "generator"),
    "_no_grad_uniform_": ("tensor", "a", "b", "generator"),
    "kaiming_uniform_": ("tensor", "a", "mode", "nonlinearity", "generator"),
}


@dataclass(frozen=True, slots=True)
class Internals:
    """OLMo-core's modules and classes; ``models`` and ``normalized`` are those that define the method that is replaced."""

    init_module: ModuleType
    models: tuple[Any, ...]
    normalized: tuple[Any, ...]
    mamba: Any
    gated_delta_net: Any
    kimi: Any

    @classmethod
    def found(cls) -> "Internals":
        """OLMo-core's internals; RuntimeError, with all differences, when they are not as known."""
        try:
            internals = cls._imported()
            differences = list(internals._differences())
        except (ImportError, AttributeError) as error:
            differences = [str(error)]
        if differences:
            raise RuntimeError("patched: expected the internals of OLMo-core 3.0.0, got: " + "; ".join(differences))
        return internals

    @classmethod
    def _imported(cls) -> "Internals":
        from olmo_core.nn.attention import NormalizedAttention, kda, recurrent
        from olmo_core.nn.feed_forward import NormalizedFeedForward
        from olmo_core.nn.lm_head import NormalizedLMHead
        from olmo_core.nn.transformer import block, init, model

        normalized = (
            model.NormalizedTransformer,
            block.NormalizedTransformerBlock,
            NormalizedAttention,
            NormalizedFeedForward,
            NormalizedLMHead,
        )
        return cls(
            init_module=init,
            models=tuple(cls for cls in _family(model.Transformer) if "init_weights" in vars(cls)),
            normalized=normalized,
            mamba=recurrent.NemotronMamba2Mixer,
            gated_delta_net=recurrent.GatedDeltaNet,
            kimi=kda.KimiDeltaAttention,
        )

    def _differences(self) -> Iterator[str]:
        """What is not as known, in words."""
        for name, expected in _INIT_SIGNATURES.items():
            yield from _signature(f"torch.nn.init.{name}", getattr(nn.init, name), expected)
        yield from _signature("_apply_init", self.init_module._apply_init, ("init_fun", "x", "args", "kwargs"))
        yield from _signature("Mamba2.reset_parameters", self.mamba.reset_parameters, ("self", "generator"))
        for cls in self.normalized:
            if "_normalize_matrix" not in vars(cls):
                yield f"{cls.__name__} does not define _normalize_matrix"
            yield from _signature(f"{cls.__name__}._normalize_matrix", cls._normalize_matrix, ("self", "w", "dim"))
        if "_apply_init" not in self.init_module.init_linear.__code__.co_names:
            yield "init_linear does not call _apply_init"
        for owner, numbers in ((self.gated_delta_net, (16, 0.001, 0.1, 1e-4)), (self.kimi, (1, 16))):
            code = inspect.unwrap(owner.init_weights).__code__
            missing = [number for number in numbers if not _mentions(code.co_consts, number)]
            if missing:
                yield f"{owner.__name__}.init_weights does not mention {missing}"

    def transformed(self, module: nn.Module) -> dict[str, Transformed]:
        """The laws of parameters that OLMo-core computes from uniforms by itself, by their name in the module."""
        if isinstance(module, self.gated_delta_net):
            return {"A_log": LogOfUniform(0.0, 16.0), "dt_bias": InverseSoftplusOfLogUniform(0.001, 0.1, 1e-4)}
        if isinstance(module, self.kimi):
            return {"A_log": LogOfUniform(1.0, 16.0)}
        if isinstance(module, self.mamba):
            steps = (module.time_step_min, module.time_step_max, module.time_step_floor)
            return {"dt_bias": InverseSoftplusOfLogUniform(*steps)}
        return {}


def _family(cls: type[Any]) -> Iterator[type[Any]]:
    """A class and all that are derived from it, each once."""
    seen: dict[type[Any], None] = {cls: None}
    waiting = [cls]
    while waiting:
        for derived in waiting.pop().__subclasses__():
            if derived not in seen:
                seen[derived] = None
                waiting.append(derived)
    return iter(seen)


def _signature(name: str, function: Callable[..., Any], expected: tuple[str, ...]) -> Iterator[str]:
    names = tuple(inspect.signature(function).parameters)
    if names != expected:
        yield f"{name}({', '.join(names)}) in place of ({', '.join(expected)})"


def _mentions(constants: tuple[Any, ...], number: float) -> bool:
    """Whether a number is among a function's constants, or in a tuple among them."""
    return any(
        _mentions(constant, number)
        if isinstance(constant, tuple)
        else type(constant) is not bool and constant == number
        for constant in constants
    )
