"""init_model_: a whole model by the names of its parameters."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from fastinit.collector import paused
from fastinit.model.filling import fill_plan_
from fastinit.model.materialise import any_meta, check_device, device_of, materialise
from fastinit.model.plan import plan_of
from fastinit.model.planned import Source
from fastinit.model.report import Report, rows_of
from fastinit.model.scheme import RolePatterns, rules_of
from fastinit.shard.geometry import LocalShard


def init_model_(
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
    device: torch.device | str | None = None,
) -> Report:
    """Fill every parameter of a model, in place, by its name.

    >>> recipe = fastinit.record(lambda: torch.nn.Linear(8, 4))
    >>> report = init_model_(torch.nn.Linear(8, 4), recipe, seed=0)
    >>> [row.name for row in report.rows]
    ['weight', 'bias']
    >>> report = init_model_(model, "llama", seed=0, device="cuda")  # by the names of a known architecture  # doctest: +SKIP

    Args:
        model: any module; sharded (FSDP2, tensor, expert or pipeline parallel) or whole, it gets the same values.
        method: one of ``fastinit.InitMethod``, or its name; or a :class:`fastinit.Recipe`, a framework's own laws.
        seed: of the whole model; the key of a parameter is ``Key.of(name, seed)`` with its canonical name.
        std: of what the method does not give another.
        roles: ``(pattern, Role)`` or ``(pattern, Role, layout)``, tried before the built-in ones; see fastinit.model.roles.
        num_blocks, d_model: of the whole model, where its ``config`` or its attributes do not tell; asked for only if a
            rule depends on it.
        embedding_std: of the embedding under the method "normal"; without it, ``std``.
        embed_scale: what the model multiplies its embeddings by, for the method "fan_in"; without it, its attribute.
        shards: by parameter, where a plain tensor lies in a larger logical tensor.
        rename: a function of a parameter's name, or a mapping: the name that a recipe has for it, as where experts count from 0 on
            each rank. The keys come from that name.
        aliases: by a pattern of names that the recipe does not have, the parts that a fused parameter is made of, whose bits it
            gets: their names in the recipe, or a :class:`fastinit.recipe.aliases.Fused`. The first pattern that matches is taken.
        device: where parameters on the meta device are materialised; other parameters stay where they are.

    Returns:
        What each parameter was filled with; it prints as a table and exports to JSON.

    Raises:
        ValueError: parameters that no pattern matches (all of them, by name), without elements, or that share a stream
            id; a size that a rule needs and that is nowhere, one below 1, a width that is not the embedding's; a method
            without a rule for a role; meta parameters and no ``device``; a ``Partial`` placement; overlapping memory; a
            shard that does not fit; parameters that FullyShardedDataParallel has cut out of a flat one.
        ValueError: with a recipe, what is for methods (``std`` to ``embed_scale``); parameters that it does not have, or has in
            another shape; two of one name, by ``rename``; one whose names have entries that differ, as the model ties what the
            recipe has apart; a constant beyond the range of the parameter's dtype; an alias of a name that the recipe has, or whose
            parts do not make up the parameter, or follow no laws; Megatron-core's parameters of a tensor-parallel rank without
            ``shards``, and its experts of an expert-parallel one without ``rename``, which would have another rank's numbers.
        TypeError: what is no module, or no recipe; a parameter whose dtype cannot be filled, or that is lazy, sparse or nested; a
            ``rename`` or ``aliases`` that maps no names.
        NotImplementedError: a device that no backend serves.

    All of that is checked before anything is written. Tied parameters are filled once, under their first name, and stay
    tied; parameters that are the same elements of one storage are tied too. Buffers stay as they are: those on the meta
    device are the model's to build. So do weights that are no parameters, as quantised modules have; the report counts
    them. What a model does to its weights afterwards, like nGPT's ``normalize_matrices``, is still to be done.

    Two parameters that a recipe has tied to one another have the same values, and the report says whose.

    Names, sizes and values are the same inside and outside of what wraps a model under a name that is no part of
    canonical names: DistributedDataParallel, DataParallel, FullyShardedDataParallel, torch.compile, checkpoint_wrapper,
    one within another. A module that holds the model under a name of its own, as Lightning's do, is no wrapper by any
    mark: that name is the first part of all names, so give the model inside. Sizes are taken from that one all the same.
    A module without parameters, like a pipeline stage may be, is filled by doing nothing.
    """
    device = None if device is None else device_of(device)
    asked = rules_of(
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
    plan = plan_of(model, asked)
    if any_meta(plan):
        check_device(plan, device)
        materialise(model, plan, device or torch.device("cpu"))
        plan = plan_of(model, asked)
    fill_plan_(plan)
    rows = paused(lambda: rows_of(plan))
    return Report(asked.method, asked.seed, rows, plan.packed)
