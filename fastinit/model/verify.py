"""verify_model_: is a model what its names and a seed say? Compared bit by bit, and nothing is written."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from fastinit.model.comparison import Comparison
from fastinit.model.plan import plan_of
from fastinit.model.planned import Source
from fastinit.model.report import Verification
from fastinit.model.scheme import RolePatterns, rules_of
from fastinit.shard.geometry import LocalShard
from fastinit.shard.storage import is_fake


def verify_model_(
    model: nn.Module,
    method: str | Source,
    *,
    seed: int = 0,
    std: float = 0.02,
    roles: RolePatterns = (),
    num_blocks: int | None = None,
    d_model: int | None = None,
    embedding_std: float | None = None,
    embed_scale: float | None = None,
    shards: Mapping[str, LocalShard] | None = None,
    rename: Callable[[str], str] | Mapping[str, str] | None = None,
    aliases: Mapping[str, Any] | None = None,
) -> Verification:
    """Compare every parameter of a model, bit by bit, with what :func:`init_model_` would fill. Nothing is written.

    >>> recipe = fastinit.record(lambda: torch.nn.Linear(8, 4))
    >>> model, report = fastinit.build(torch.nn.Linear, 8, 4, seed=0)
    >>> assert verify_model_(model, recipe, seed=0), "not the initial weights of seed 0"

    The arguments, but for ``device``, and the errors are those of :func:`init_model_`, for a method and for a recipe; a
    model with meta or fake parameters is a ``ValueError`` too. The values are regenerated in chunks of 2**20 elements, so
    the memory that it takes does not grow with the model. Each rank checks the part that it holds. The result is true when
    no parameter differs, and prints what does, and what could not be compared: weights that are no parameters.
    """
    rules = rules_of(
        method,
        seed,
        rename,
        aliases,
        std=std,
        roles=roles,
        num_blocks=num_blocks,
        d_model=d_model,
        embedding_std=embedding_std,
        embed_scale=embed_scale,
        shards=shards,
    )
    plan = plan_of(model, rules)
    # Of those that are addressed all have values.
    unknown = [planned for planned in plan if planned.part.found.address is None or planned.part.found.kind is None]
    for kind, without_values in (("meta", lambda tensor: tensor.is_meta), ("fake", is_fake)):
        names = [planned.name for planned in unknown if without_values(planned.parameter)]
        if names:
            raise ValueError(f"model: expected parameters with values, got {kind} parameters: {', '.join(names)}")
    compared = Comparison([planned for planned in plan if planned.law is not None])
    return Verification(compared.rows(), plan.packed)
