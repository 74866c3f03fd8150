"""The pattern that each parameter's name matches; the error for those without one says what may be done."""

from collections.abc import Iterable, Sequence
from itertools import chain

from fastinit.model.roles import Named, named_by
from fastinit.model.shown import shown
from fastinit.model.sizes import Wrapped
from fastinit.stream import WRAPPER_PARTS

# Parts of names that tell why no pattern matches, and what to do then.
_ADVICE = {
    "parametrizations": "remove the parametrizations first, with torch.nn.utils.parametrize.remove_parametrizations",
    "weight_g": "remove the weight norm first, with torch.nn.utils.remove_weight_norm",
    "_flat_param": "wrap the model by FullyShardedDataParallel with use_orig_params=True, or by fully_shard",
    "base_layer": "fill the base model before its adapters are added, or give roles for both",
    "lora_A": "fill the base model before its adapters are added, or give roles for both",
}


def matched(
    names: Iterable[str], model_types: set[str], models: Sequence[Wrapped], roles: tuple[Named, ...]
) -> dict[str, Named]:
    """The pattern of each name. Raises ``ValueError`` for names that no pattern matches, all of them."""
    named = named_by(names, model_types, roles)
    unmatched = [name for name, match in named.items() if match is None]
    if not unmatched:
        return {name: match for name, match in named.items() if match is not None}
    model = f" in a model of type {', '.join(sorted(model_types))}" if model_types else ""
    parts = set(chain.from_iterable(name.split(".") for name in unmatched))
    advice = dict.fromkeys(text for part, text in _ADVICE.items() if part in parts)
    advice |= dict.fromkeys(_inside(named, model_types, models, roles))
    raise ValueError(
        f"roles: expected a pattern for every parameter, found none{model} for these {len(unmatched)}; add "
        f"(pattern, Role) pairs, see fastinit.model.roles"
        + "".join(f"; {text}" for text in advice)
        + ":\n  "
        + "\n  ".join(map(shown, unmatched))
    )


def _inside(
    named: Iterable[str], model_types: set[str], models: Sequence[Wrapped], roles: tuple[Named, ...]
) -> Iterable[str]:
    """Which model inside of this one has names that all match."""
    for path, _ in reversed(models):
        prefix = "".join(f"{part}." for part in path.split(".") if part and part not in WRAPPER_PARTS)
        if prefix and None not in named_by((name.removeprefix(prefix) for name in named), model_types, roles).values():
            yield f"or give model.{path}, whose parameters all have one"
            return
