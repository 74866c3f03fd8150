"""Carrying out what was planned: any law into one tensor, and a whole plan in a few launches."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Generator, Tensor

from fastinit.foreach import foreach_fill_
from fastinit.generator import default_generator, draw_key
from fastinit.init import fill_
from fastinit.law.distributions import Distribution
from fastinit.law.transformed import Constant, Law, Transformed
from fastinit.model.planned import Planned
from fastinit.shard.described import describe
from fastinit.shard.geometry import LocalShard
from fastinit.shard.storage import PLAIN, is_fake, write
from fastinit.stream import Key


def fill_plan_(plan: Sequence[Planned]) -> None:
    """Fill every parameter of a plan. What a class of somebody's own raises is raised before plain ones are written."""
    fill_as_planned_(plan, [planned.part.found.parameter for planned in plan], [planned.part.shard for planned in plan])


def fill_as_planned_(plan: Sequence[Planned], tensors: Sequence[Tensor], shards: Sequence[LocalShard | None]) -> None:
    """Fill tensors that stand for the parameters of a plan, or for the parts of them that the shards say."""
    random: list[tuple[Tensor, Distribution, Key, LocalShard | None]] = []
    plain: list[tuple[Tensor, Planned, LocalShard | None]] = []
    for planned, tensor, shard in zip(plan, tensors, shards, strict=True):
        law = planned.law
        if isinstance(law, Distribution):
            random.append((tensor, law, planned.part.key, shard))
        elif type(tensor) in PLAIN:
            plain.append((tensor, planned, shard))
        else:
            fill_planned_(tensor, planned, shard)
    if random:
        filled, laws, keys, places = zip(*random, strict=True)
        foreach_fill_(filled, laws, keys=keys, shards=places)
    for tensor, planned, shard in plain:
        fill_planned_(tensor, planned, shard)


def fill_planned_(tensor: Tensor, planned: Planned, shard: LocalShard | None = None) -> None:
    """Fill a tensor that stands for a parameter, or for the part of it that the shard says."""
    fill_law_(tensor, planned.law, key=planned.key, shard=shard)


def fill_law_(
    tensor: Tensor,
    law: Law | None,
    *,
    generator: Generator | None = None,
    key: Key | None = None,
    shard: LocalShard | None = None,
) -> Tensor:
    """Fill the tensor, in place, from any law of transformed.py; with None leave it as it is.

    >>> fill_law_(torch.empty(16), LogOfUniform(0.0, 16.0), key=Key.of("blocks.0.attention.A_log", seed=0))
    """
    if law is None:
        return tensor
    if isinstance(law, Constant):
        value = law.value
        write(tensor, lambda memory: memory.fill_(value))
        return tensor
    if isinstance(law, Transformed):
        if tensor.is_meta or is_fake(tensor):
            return tensor
        return _fill_transformed_(tensor, law, key or draw_key(generator or default_generator(tensor.device)), shard)
    return fill_(tensor, law, generator=generator, key=key, shard=shard)


def _fill_transformed_(tensor: Tensor, law: Transformed, key: Key, shard: LocalShard | None) -> Tensor:
    """Element by element in fp64: torch's log and exp differ in the last bit between devices and vector lanes."""
    for view, box in describe(tensor, shard).boxes:
        source = fill_(torch.empty(view.shape, dtype=torch.float32, device="cpu"), law.source, key=key, shard=box)
        values = [law.transform(value) for value in source.flatten().tolist()]
        transformed = torch.tensor(values, dtype=torch.float32, device="cpu").view(view.shape)
        write(view, partial(_copy, transformed))
    return tensor


def _copy(source: Tensor, memory: Tensor) -> None:
    memory.copy_(source)
