"""What must hold of a model before the first of its parameters is written. Every error names the parameters."""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fastinit.law.distributions import Distribution
from fastinit.law.lowering import lower
from fastinit.law.transformed import Law
from fastinit.model.roles import Named, named_by
from fastinit.model.shown import shown
from fastinit.model.sizes import Told, Wrapped
from fastinit.model.walk import Found, flat_shards
from fastinit.shard.described import describe
from fastinit.shard.geometry import LocalShard, Shape
from fastinit.shard.memory import Strided, shared
from fastinit.shard.storage import Memory, dtype_name
from fastinit.stream import WRAPPER_PARTS, Key

# Parts of names that tell why no pattern matches, and what to do then.
_ADVICE = {
    "parametrizations": "remove the parametrizations first, with torch.nn.utils.parametrize.remove_parametrizations",
    "weight_g": "remove the weight norm first, with torch.nn.utils.remove_weight_norm",
    "_flat_param": "wrap the model by FullyShardedDataParallel with use_orig_params=True, or by fully_shard",
    "base_layer": "fill the base model before its adapters are added, or give roles for both",
    "lora_A": "fill the base model before its adapters are added, or give roles for both",
}


def check_present(model: nn.Module, found: Iterable[Found]) -> None:
    """That each parameter is a tensor of its own shape, as far as this rank holds it."""
    lazy = [parameter.name for parameter in found if is_lazy(parameter.parameter)]
    if lazy:
        raise TypeError(
            "model: expected parameters with a shape, got lazy ones; run the model once, or materialize() them: "
            + ", ".join(lazy)
        )
    flat = flat_shards(model)
    if flat:
        raise ValueError(
            "model: expected whole parameters or DTensors, got what FullyShardedDataParallel has cut out of a flat one; "
            "fill the model before it is wrapped or within FullyShardedDataParallel.summon_full_params, or use "
            f"fully_shard: {', '.join(flat)}"
        )
    empty = [parameter.name for parameter in found if parameter.parameter.numel() == 0]
    if empty:
        raise ValueError(
            "model: expected parameters with elements, got placeholders without any, as DeepSpeed's ZeRO-3 leaves them "
            f"outside of GatheredParameters: {', '.join(empty)}"
        )


def check_streams(found: Iterable[Found], keys: Mapping[str, Key]) -> None:
    """Equal streams are equal values: two parameters of one canonical name, or a collision of the digest."""
    by_stream: dict[int, Found] = {}
    for parameter in found:
        other = by_stream.setdefault(keys[parameter.name].stream, parameter)
        if other is not parameter:
            names = f"{other.name} and {parameter.name}"
            raise ValueError(f"model: expected a stream id for each parameter, got one for {names}")


def check_matched(
    named: Mapping[str, Named | None], model_types: set[str], models: Sequence[Wrapped], roles: tuple[Named, ...]
) -> None:
    """That a pattern matches each name."""
    unmatched = [name for name, match in named.items() if match is None]
    if not unmatched:
        return
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


def check_width(widths: Mapping[str, int], shapes: Iterable[Shape], told: Told | None) -> None:
    """The width that a model tells, against those of its embeddings, where this part of the model has any.

    Without them it is the size of some dimension, as that of the norms is. A ``d_model`` of the caller's is not compared:
    embeddings may have another width than the model, when they are factorised, and that is how to say so.
    """
    if told is None:
        return
    sizes = set() if widths else set(chain.from_iterable(shapes))
    if sizes and told.size not in sizes:
        raise ValueError(
            f"d_model: expected the size of a parameter's dimension, got {told.size} from {told.by}; give d_model="
        )
    if widths and told.size not in widths.values():
        name, width = next(iter(widths.items()))
        raise ValueError(
            f"d_model: expected the width of {name}, {width}, got {told.size} from {told.by}; give d_model=, also where "
            "the model has another width than its embeddings"
        )


def check_apart(parameters: Iterable[Found], untouched: Collection[str]) -> None:
    """That no parameter which is filled overlaps another one in memory.

    Those that are the same there are one already, by walk.tied; of those that stay as they are, any two may overlap.
    """
    spaces: dict[Hashable, list[tuple[str, Memory]]] = {}
    for parameter in parameters:
        if parameter.memory is not None:
            spaces.setdefault(parameter.memory.space, []).append((parameter.name, parameter.memory))
    for placed in spaces.values():
        numbers: dict[Strided, int] = {}
        layout = [numbers.setdefault(memory.strided, len(numbers)) for _, memory in placed]
        addresses = np.array([memory.address for _, memory in placed], np.int64)
        written = np.array([name not in untouched for name, _ in placed], np.bool_)
        found = shared(addresses, list(numbers), np.array(layout, np.int64), written)
        if found is not None:
            one, other = (placed[k][0] for k in found)
            raise ValueError(
                "model: expected parameters with memory of their own, or all of it in common with the same shape, "
                f"strides and dtype, got some that {one} and {other} both have"
            )


def check_fillable(tensor: Tensor, law: Law | None, shard: LocalShard | None) -> None:
    """What a fill would raise of a dense tensor, raised before the first fill."""
    if law is None:
        return
    if isinstance(law, Distribution):
        _check_value(law, dtype_name(tensor.dtype))
    describe(tensor, shard)


@lru_cache(maxsize=4096)
def _check_value(law: Distribution, dtype: str) -> None:
    """Raise ``ValueError`` unless the law has a value of the dtype."""
    lower(law).bounds(dtype)
