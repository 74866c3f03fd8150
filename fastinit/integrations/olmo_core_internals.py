"""What of OLMo-core is replaced, and whether it is what is known of OLMo-core 3.0.0."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True, slots=True)
class Internals:
    """OLMo-core's modules and classes; ``models`` and ``normalized`` are those that define the method that is replaced."""

    init_module: ModuleType
    recurrent: ModuleType
    models: tuple[Any, ...]
    normalized: tuple[Any, ...]

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
        from olmo_core.nn.attention import NormalizedAttention, recurrent
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
            recurrent=recurrent,
            models=tuple(cls for cls in _family(model.Transformer) if "init_weights" in vars(cls)),
            normalized=normalized,
        )

    def _differences(self) -> Iterator[str]:
        """What is not as known, in words."""
        yield from _signature("_apply_init", self.init_module._apply_init, ("init_fun", "x", "args", "kwargs"))
        copy = self.recurrent._copy_into_tensor_or_dtensor
        yield from _signature("_copy_into_tensor_or_dtensor", copy, ("dst", "src"))
        for cls in self.normalized:
            if "_normalize_matrix" not in vars(cls):
                yield f"{cls.__name__} does not define _normalize_matrix"
            yield from _signature(f"{cls.__name__}._normalize_matrix", cls._normalize_matrix, ("self", "w", "dim"))
        if "_apply_init" not in self.init_module.init_linear.__code__.co_names:
            yield "init_linear does not call _apply_init"


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
