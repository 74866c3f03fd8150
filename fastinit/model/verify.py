"""verify_model_: is a model what its names and a seed say? Compared bit by bit, and nothing is written."""

from collections.abc import Mapping

from torch import nn

from fastinit.model.comparison import Comparison
from fastinit.model.plan import plan_of
from fastinit.model.report import Verification
from fastinit.model.scheme import RolePatterns, Scheme
from fastinit.model.walk import packed_in
from fastinit.shard.geometry import LocalShard
from fastinit.shard.storage import is_fake


def verify_model_(
    model: nn.Module,
    method: str,
    *,
    seed: int = 0,
    std: float = 0.02,
    roles: RolePatterns = (),
    num_blocks: int | None = None,
    d_model: int | None = None,
    embedding_std: float | None = None,
    embed_scale: float | None = None,
    shards: Mapping[str, LocalShard] | None = None,
) -> Verification:
    """Compare every parameter of a model, bit by bit, with what :func:`init_model_` would fill. Nothing is written.

    >>> assert verify_model_(model, "llama", seed=0), "not the initial weights of seed 0"

    The arguments, but for ``device``, and the errors are those of :func:`init_model_`; a model with meta or fake parameters
    is a ``ValueError`` too. The values are regenerated in chunks of 2**20 elements, so the memory that it takes does not
    grow with the model. Each rank checks the part that it holds. The result is true when no parameter differs, and prints
    what does, and what could not be compared: weights that are no parameters.
    """
    plan = plan_of(model, Scheme(method, seed, std, roles, num_blocks, d_model, embedding_std, embed_scale, shards))
    for kind, without_values in (("meta", lambda tensor: tensor.is_meta), ("fake", is_fake)):
        names = [planned.name for planned in plan if without_values(planned.parameter)]
        if names:
            raise ValueError(f"model: expected parameters with values, got {kind} parameters: {', '.join(names)}")
    compared = Comparison([planned for planned in plan if planned.law is not None])
    return Verification(compared.rows(), packed_in(model))
