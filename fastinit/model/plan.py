"""Plan: which law and key each parameter of a model gets, with every check made before anything is written."""

from collections.abc import Mapping, Sequence

from torch import nn

from fastinit.collector import paused
from fastinit.model.checks import check_apart, check_fillable, check_present, check_streams
from fastinit.model.columns import columns, records
from fastinit.model.planned import Part, Parts, Plan, Planned, Rules
from fastinit.model.uses import uses_of
from fastinit.model.walk import Found, experts_shards, found_by, packed_in, tied
from fastinit.shard.geometry import LocalShard
from fastinit.stream import keys_of


def plan_of(model: nn.Module, rules: Rules) -> Plan:
    """A plan for each parameter of the model, in the model's order. Nothing is written.

    >>> plan = plan_of(model, Scheme("llama", seed=0))

    Three steps: what holds of any model, what the rules give, and what holds of any plan. Raises ``ValueError`` or
    ``TypeError``, with the names of the parameters, for what init_model_ documents.
    """
    return paused(lambda: _plan_of(model, rules))  # a few objects a parameter


def _plan_of(model: nn.Module, rules: Rules) -> Plan:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    uses, classes, telling = uses_of(model)
    found = found_by(uses)
    check_present(model, found, classes)
    found = tied(found)
    parts = _parts(found, rules.seed, rules.shards or {}, telling)
    given = rules.given(model, parts)
    roles, laws, notes, keys = columns(given, 4)
    renamed = [part if key is None else part._replace(key=key) for part, key in zip(parts, keys, strict=True)]
    plan = Plan(records(Planned, renamed, roles, laws, notes), packed_in(model, classes))
    check_fillable(plan)
    check_apart(found, laws)
    return plan


def _parts(found: list[Found], seed: int, shards: Mapping[str, LocalShard], telling: Sequence[nn.Module]) -> Parts:
    """The parameters of a model, each with its key and its place."""
    keys = keys_of([parameter.name for parameter in found], seed)
    check_streams(found, keys)
    _check_names(shards, found)
    places = experts_shards(found, telling)
    if shards:
        places = [shards.get(parameter.name, place) for parameter, place in zip(found, places, strict=True)]
    return Parts(records(Part, found, keys, places), telling)


def _check_names(shards: Mapping[str, LocalShard], found: Sequence[Found]) -> None:
    names = {parameter.name for parameter in found} if shards else set()
    unknown = [name for name in shards if name not in names]
    if unknown:
        raise ValueError(f"shards: expected names of parameters, got {', '.join(unknown)}")
