"""The pattern that each parameter's name matches; the error for those without one says what may be done."""

from collections.abc import Iterable, Sequence
from itertools import chain

from fastinit.model.roles import Named, Patterns, named_by
from fastinit.model.shown import shown
from fastinit.model.sizes import Wrapped
from fastinit.model.walk import Found
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
    found: Sequence[Found], model_types: set[str], models: Sequence[Wrapped], roles: tuple[Named, ...]
) -> list[Named]:
    """The pattern of each parameter's name. Raises ``ValueError`` for names that no pattern matches, all of them."""
    patterns = Patterns(model_types, roles)
    if patterns.know_numbers:
        named = [patterns.of(parameter.name) for parameter in found]
    else:  # to match takes longer than a fill
        first = {parameter.like: parameter.name for parameter in found}
        by_like = {like: patterns.of(name) for like, name in first.items()}
        named = [by_like[parameter.like] for parameter in found]
    matches = [match for match in named if match is not None]
    if len(matches) == len(named):
        return matches
    names = [parameter.name for parameter in found]
    unmatched = [name for name, match in zip(names, named, strict=True) if match is None]
    model = f" in a model of type {', '.join(sorted(model_types))}" if model_types else ""
    parts = set(chain.from_iterable(name.split(".") for name in unmatched))
    advice = dict.fromkeys(text for part, text in _ADVICE.items() if part in parts)
    advice |= dict.fromkeys(_inside(names, model_types, models, roles))
    raise ValueError(
        f"roles: expected a pattern for every parameter, found none{model} for these {len(unmatched)}; add "
        f"(pattern, Role) pairs, see fastinit.model.roles"
        + "".join(f"; {text}" for text in advice)
        + ":\n  "
        + "\n  ".join(map(shown, unmatched))
    )


def _inside(
    names: Sequence[str], model_types: set[str], models: Sequence[Wrapped], roles: tuple[Named, ...]
) -> Iterable[str]:
    """Which model inside of this one has names that all match."""
    for path, _ in reversed(models):
        prefix = "".join(f"{part}." for part in path.split(".") if part and part not in WRAPPER_PARTS)
        if prefix and None not in named_by((name.removeprefix(prefix) for name in names), model_types, roles).values():
            yield f"or give model.{path}, whose parameters all have one"
            return
