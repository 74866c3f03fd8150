"""What a model says of itself: its sizes and its type, the same inside and outside of any wrapper.

What wraps a model has attributes of its own, which mean something else: ``dim`` is 0 in DistributedDataParallel. So the
innermost model that tells counts, and of what it tells, its config's included, the name that means nothing else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, product
from math import inf
from numbers import Integral
from typing import Any, NamedTuple

from torch import nn

from fastinit.model.modules import every, having
from fastinit.model.uses import CONFIG
from fastinit.model.walk import Found
from fastinit.shard.geometry import Shape
from fastinit.stream import WRAPPER_PARTS

Paths = tuple[str, ...]

# What a size is called: first the names that mean nothing else, last those that may be another one's, like a dimension to
# reduce over, or the number of layers of a part. Names in one group mean the same.
_WIDTHS = (("d_model",), ("hidden_size",), ("dim",))
_DEPTHS = (("n_layers", "num_hidden_layers"), ("num_layers",))


class Wrapped(NamedTuple):
    """A model, and its path from the outermost one."""

    path: str
    model: nn.Module


class Told(NamedTuple):
    """A size, and who tells it."""

    size: int
    by: str


def models_of(model: nn.Module, found: Sequence[Found]) -> list[Wrapped]:
    """The models that may tell of themselves, innermost first, by the paths that lead to each parameter.

    >>> [path for path, _ in models_of(DistributedDataParallel(lightning_module), found)]  # doctest: +SKIP
    ['module.net', 'module']

    A module wraps its child when that one holds all of its parameters. Under a name that is no part of canonical names
    (``module``, ``_orig_mod``, ...) it is a wrapper for certain, and tells nothing. Under any other name it may as well
    be a model with its body, or a pipeline stage: it tells what the body does not. A child with a number is a block.
    """
    # All of some paths start alike if the first and the last in alphabetical order do.
    alone = [parameter.path for parameter in found if not parameter.tied_paths]
    ends = [(min(alone),), (max(alone),)] if alone else []
    return _models_of(model, [*ends, *(parameter.paths for parameter in found if parameter.tied_paths)], "")


def _models_of(model: nn.Module, paths: Sequence[Paths], path: str) -> list[Wrapped]:
    here = Wrapped(path, model)
    for name, child in sorted(model.named_children(), key=lambda named: named[0] not in WRAPPER_PARTS):
        inside, wrapper = f"{path}.{name}".removeprefix("."), name in WRAPPER_PARTS
        if paths and all(any(way.startswith(inside + ".") for way in ways) for ways in paths):
            if wrapper:
                return _models_of(child, paths, inside)
            if not name.isdecimal():
                return [*_models_of(child, paths, inside), here]
        elif wrapper:
            return [here, *_models_of(child, paths, inside)]
    return [here]


def d_model_of(models: Iterable[Wrapped]) -> Told | None:
    """The width of a model, as its attributes or its config tell it; None when they do not."""
    return _told("d_model", models, _WIDTHS)


def num_blocks_of(models: Iterable[Wrapped]) -> Told | None:
    """The number of blocks of a whole model, told likewise, by a pipeline stage too."""
    return _told("num_blocks", models, _DEPTHS)


def embed_scale_of(models: Iterable[Wrapped]) -> float | None:
    """What a model multiplies its embeddings by, as its attribute tells it; None when it does not."""
    for _, model in models:
        scale = getattr(model, "embed_scale", None)
        if scale is not None:
            check_scale(f" from {type(model).__name__}.embed_scale", scale)
            return scale  # type: ignore[no-any-return]
    return None


def model_types_of(models: Sequence[Wrapped], telling: Sequence[nn.Module]) -> set[str]:
    """What a model of transformers, or one that is a part of the model, calls itself in its config.

    ``telling`` are the modules of the whole that may have one.
    """
    (_, innermost), *outer = models
    with_config = having(telling, CONFIG)
    inside = set(map(id, every(innermost))) if with_config else ()
    for modules in ([module for module in with_config if id(module) in inside], *([model] for _, model in outer)):
        configs = (getattr(module, CONFIG, None) for module in modules)
        types = (getattr(config, "model_type", None) for config in configs)
        if named := {name for name in types if isinstance(name, str)}:
            return named
    return set()


def _told(what: str, models: Iterable[Wrapped], names: tuple[tuple[str, ...], ...]) -> Told | None:
    for (_, model), alike in product(models, names):
        found = []
        for holder, name in product(_holders(model), alike):
            size: Any = getattr(holder, name, None)
            if not isinstance(size, Integral):  # bools are
                continue
            by = f"{type(holder).__name__}.{name}"
            if not is_size(size):
                raise ValueError(f"{what}: expected a size of at least 1 from {by}, got {size}; give {what}=")
            found.append(Told(int(size), by))
        if len({told.size for told in found}) > 1:
            all_told = ", ".join(f"{told.size} from {told.by}" for told in found)
            raise ValueError(f"{what}: expected one size, got {all_told}; give {what}=")
        if found:
            return found[0]
    return None


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


def is_size(number: Any) -> bool:
    """Whether a number is a whole one of at least 1; True is none."""
    return not isinstance(number, bool) and 1 <= number < 2**62 and number % 1 == 0


def check_scale(source: str, scale: Any) -> None:
    """Raise unless ``embed_scale``, from where ``source`` says, is a number > 0 that can be divided by."""
    try:
        positive = 0 < float(scale) < inf
    except (TypeError, ValueError):
        raise TypeError(f"embed_scale: expected a finite number > 0{source}, got {scale!r}") from None
    if not positive:
        raise ValueError(f"embed_scale: expected a finite number > 0{source}, got {scale}")


def _holders(model: nn.Module) -> Iterator[Any]:
    """The objects that may tell a size: a model and its configs."""
    yield model
    yield from (getattr(model, name, None) for name in ("config", "model_args", "args"))
