"""Carrying out what was planned: any law into one tensor, and a whole plan in a few launches."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from fastinit.foreach import foreach_fill_
from fastinit.generator import default_generator, draw_key
from fastinit.init import fill_
from fastinit.law.distributions import Distribution
from fastinit.law.transformed import Constant, Law, Transformed
from fastinit.model.planned import Planned
from fastinit.model.tiles import Computed, Content, Fixed, Tiled
from fastinit.shard import dtensor
from fastinit.shard.described import boxes_of, describe
from fastinit.shard.geometry import LocalShard
from fastinit.shard.storage import PLAIN, is_fake, write
from fastinit.stream import Key


class Task(NamedTuple):
    """A tensor that stands for a parameter, or for a part of one, and what it is to be filled with."""

    tensor: Tensor
    law: Law | Fixed
    key: Key
    shard: LocalShard | None


def tasks_of(tensor: Tensor, content: Content | None, key: Key, shard: LocalShard | None) -> Iterator[Task]:
    """What is to be done to fill a tensor with what a parameter gets."""
    if isinstance(content, Tiled):
        for view, place in boxes_of(tensor, shard):
            for tile, part, there in content.cut(view.detach(), place):
                yield Task(part, tile.law, Key.of(tile.source, key.seed), there)
    elif isinstance(content, Fixed | Computed):
        fixed = content if isinstance(content, Fixed) else Fixed(content.value(key.seed))
        for view, place in boxes_of(tensor, shard):
            yield Task(view, fixed, key, place)
    elif content is not None:
        yield Task(tensor, content, key, shard)


def fill_plan_(plan: Sequence[Planned]) -> None:
    """Fill every parameter of a plan. What a class of somebody's own raises is raised before plain ones are written."""
    fill_as_planned_(plan, [planned.part.found.parameter for planned in plan], [planned.part.shard for planned in plan])
    parts = [planned.parameter for planned in plan if isinstance(planned.law, (Tiled, Computed))]
    torch.autograd.graph.increment_version([tensor for tensor in parts if dtensor.is_dtensor(tensor)])


def fill_as_planned_(plan: Sequence[Planned], tensors: Sequence[Tensor], shards: Sequence[LocalShard | None]) -> None:
    """Fill tensors that stand for the parameters of a plan, or for the parts of them that the shards say."""
    random: list[tuple[Tensor, Distribution, Key, LocalShard | None]] = []
    plain: list[Task] = []
    for planned, tensor, shard in zip(plan, tensors, shards, strict=True):
        content, key = planned.law, planned.part.key
        if isinstance(content, Distribution):
            random.append((tensor, content, key, shard))
            continue
        for task in tasks_of(tensor, content, key, shard):
            if isinstance(task.law, Distribution):
                random.append((task.tensor, task.law, task.key, task.shard))
            elif type(task.tensor) in PLAIN:
                plain.append(task)
            else:
                fill_task_(task)
    if random:
        filled, laws, keys, places = zip(*random, strict=True)
        foreach_fill_(filled, laws, keys=keys, shards=places)
    for task in plain:
        fill_task_(task)


def fill_task_(task: Task) -> None:
    tensor, law, key, shard = task
    if isinstance(law, Fixed):
        assert shard is not None
        slices = tuple(slice(o, o + n) for o, n in zip(shard.global_offset, tensor.shape, strict=True))
        write(tensor, partial(_copy, law.values[slices]))
    else:
        fill_law_(tensor, law, key=key, shard=shard)


def fill_planned_(tensor: Tensor, planned: Planned, shard: LocalShard | None = None) -> None:
    """Fill a tensor that stands for a parameter, or for the part of it that the shard says."""
    for task in tasks_of(tensor, planned.law, planned.key, shard):
        fill_task_(task)


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
