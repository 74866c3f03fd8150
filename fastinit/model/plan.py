"""Plan: which law and key each parameter of a model gets, with every check made before anything is written."""

from collections.abc import Mapping, Sequence

from torch import nn

from fastinit.collector import paused
from fastinit.model.checks import check_apart, check_fillable, check_present, check_streams
from fastinit.model.columns import records
from fastinit.model.planned import Part, Planned, Rules
from fastinit.model.walk import Found, experts_shards, parameters_of, tied
from fastinit.shard.geometry import LocalShard
from fastinit.stream import keys_of


def plan_of(model: nn.Module, rules: Rules) -> list[Planned]:
    """A plan for each parameter of the model, in the model's order. Nothing is written.

    >>> plan = plan_of(model, Scheme("llama", seed=0))

    Three steps: what holds of any model, what the rules give, and what holds of any plan. Raises ``ValueError`` or
    ``TypeError``, with the names of the parameters, for what init_model_ documents.
    """
    return paused(lambda: _plan_of(model, rules))  # a few objects a parameter


def _plan_of(model: nn.Module, rules: Rules) -> list[Planned]:
    parts = parts_of(model, rules.seed, rules.shards or {})
    given = rules.given(model, parts)
    roles, laws, notes, keys = zip(*given, strict=True) if given else ((),) * 4
    found = [part.found for part in parts]
    if any(key is not None for key in keys):
        parts = [part if key is None else part._replace(key=key) for part, key in zip(parts, keys, strict=True)]
    plan = records(Planned, parts, roles, laws, notes)
    check_fillable(plan)
    check_apart(found, {position for position, law in enumerate(laws) if law is None})
    return plan


def parts_of(model: nn.Module, seed: int, shards: Mapping[str, LocalShard]) -> list[Part]:
    """The parameters of a model, tied ones once, each with its key and its place."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    found = parameters_of(model)
    check_present(model, found)
    found = tied(found)
    keys = keys_of([parameter.names[0] for parameter in found], seed)
    check_streams(found, keys)
    _check_names(shards, found)
    places = experts_shards(found)
    if shards:
        places = [shards.get(parameter.name, place) for parameter, place in zip(found, places, strict=True)]
    return records(Part, found, keys, places)


def _check_names(shards: Mapping[str, LocalShard], found: Sequence[Found]) -> None:
    names = {parameter.name for parameter in found} if shards else set()
    unknown = [name for name in shards if name not in names]
    if unknown:
        raise ValueError(f"shards: expected names of parameters, got {', '.join(unknown)}")
