"""verify_model_: is a model what its names and a seed say? Compared bit by bit, and nothing is written."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fastinit.model.filling import Fixed, fill_planned_
from fastinit.model.plan import plan_of
from fastinit.model.planned import Planned, Source
from fastinit.model.report import Checked, Verification
from fastinit.model.scheme import RolePatterns, rules_of
from fastinit.model.tiles import Computed
from fastinit.model.walk import packed_in
from fastinit.shard.bits import bits_of
from fastinit.shard.geometry import LocalShard, Shape
from fastinit.shard.storage import is_fake

_CHUNK = 2**20  # elements that are regenerated at a time


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

    >>> assert verify_model_(model, "llama", seed=0), "not the initial weights of seed 0"

    The arguments, but for ``device``, and the errors are those of :func:`init_model_`; a model with meta or fake parameters
    is a ``ValueError`` too. The values are regenerated in chunks of 2**20 elements, so the memory that it takes does not
    grow with the model. Each rank checks the part that it holds. The result is true when no parameter differs, and prints
    what does, and what could not be compared: weights that are no parameters.
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
    for kind, without_values in (("meta", lambda tensor: tensor.is_meta), ("fake", is_fake)):
        names = [planned.name for planned in plan if without_values(planned.parameter)]
        if names:
            raise ValueError(f"model: expected parameters with values, got {kind} parameters: {', '.join(names)}")
    return Verification(tuple(_checked(planned) for planned in plan if planned.law is not None), packed_in(model))


def _checked(planned: Planned) -> Checked:
    elements, differing = 0, 0
    first: Shape | None = None
    fixed = Fixed(planned.law.value(planned.key.seed)) if isinstance(planned.law, Computed) else None
    for view, box in planned.boxes():
        for chunk, place in _chunks(view.detach(), box):
            mask = _differences(chunk, place, planned, fixed)
            count = int(mask.sum())
            if count and first is None:
                index = mask.nonzero()[0].tolist()
                first = tuple(o + i for o, i in zip(place.global_offset, index, strict=True))
            elements, differing = elements + chunk.numel(), differing + count
    return Checked(planned.name, elements, differing, first)


def _chunks(view: Tensor, box: LocalShard) -> Iterator[tuple[Tensor, LocalShard]]:
    """Parts of a box, none of more than _CHUNK elements."""
    if view.numel() <= _CHUNK:
        yield view, box
        return
    dim = next(d for d, size in enumerate(view.shape) if size > 1)
    rows = max(1, _CHUNK // (view.numel() // view.shape[dim]))
    for start in range(0, view.shape[dim], rows):
        yield from _chunks(view.narrow(dim, start, min(rows, view.shape[dim] - start)), box.shifted(dim, start))


def _differences(chunk: Tensor, box: LocalShard, planned: Planned, fixed: Fixed | None) -> Tensor:
    """Where the bits are not the regenerated ones."""
    expected = torch.empty(chunk.shape, dtype=chunk.dtype, device=chunk.device)
    fill_planned_(expected, planned, box, fixed)
    return bits_of(expected) != bits_of(chunk)
