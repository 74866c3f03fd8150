"""Carrying out what was planned: any law into one tensor, and a whole plan in a few launches."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import compress, groupby
from operator import not_
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from fastinit.foreach import fill_listed_
from fastinit.generator import default_generator, draw_key
from fastinit.init import fill_
from fastinit.law.distributions import Distribution
from fastinit.law.transformed import Constant, Law, Transformed
from fastinit.model.columns import columns
from fastinit.model.planned import Planned
from fastinit.model.tiles import Computed, Content, Fixed, Tiled
from fastinit.shard import dtensor
from fastinit.shard.described import boxes_of, describe
from fastinit.shard.geometry import LocalShard
from fastinit.shard.kinds import Seen
from fastinit.shard.storage import PLAIN, is_fake, write
from fastinit.stream import Key


class Task(NamedTuple):
    """A tensor that stands for a parameter, or for a part of one, and what it is to be filled with."""

    tensor: Tensor
    law: Law | Fixed | Computed
    key: Key
    shard: LocalShard | None


def tasks_of(tensor: Tensor, content: Content | None, key: Key, shard: LocalShard | None) -> Iterator[Task]:
    """What is to be done to fill a tensor with what a parameter gets."""
    if isinstance(content, Tiled):
        for view, place in boxes_of(tensor, shard):
            for tile, part, there in content.cut(view.detach(), place):
                yield Task(part, tile.law, Key.of(tile.source, key.seed), there)
    elif isinstance(content, Fixed | Computed):
        for view, place in boxes_of(tensor, shard):
            yield Task(view, content, key, place)
    elif content is not None:
        yield Task(tensor, content, key, shard)


def fill_plan_(plan: Sequence[Planned]) -> None:
    """Fill every parameter of a plan. What a class of somebody's own raises is raised before plain ones are written."""
    parts, _, laws = columns(plan, 3)
    found, keys, shards = columns(parts, 3)
    tensors = [part.parameter for part in found]
    known = Seen([part.kind for part in found], [part.address for part in found], [])
    _fill_(tensors, laws, keys, shards, known)
    computed = {id(law) for law in {id(law): law for law in laws}.values() if isinstance(law, (Tiled, Computed))}
    if computed:
        changed = [tensor for tensor, law in zip(tensors, laws, strict=True) if id(law) in computed]
        torch.autograd.graph.increment_version([tensor for tensor in changed if dtensor.is_dtensor(tensor)])


def fill_as_planned_(
    plan: Sequence[Planned],
    tensors: Sequence[Tensor],
    shards: Sequence[LocalShard | None],
    known: Seen | None = None,
) -> None:
    """Fill tensors that stand for the parameters of a plan, or for the parts of them that the shards say.

    ``known`` is what has been seen of the tensors, where they can be filled for certain.
    """
    parts, _, laws = columns(plan, 3)
    _fill_(tensors, laws, [part.key for part in parts], shards, known)


def _fill_(
    tensors: Sequence[Tensor],
    contents: Sequence[Content | None],
    keys: Sequence[Key],
    shards: Sequence[LocalShard | None],
    known: Seen | None,
) -> None:
    """Fill tensors with what parameters get; ``known`` is what a plan has seen of them, and checked."""
    distinct = {id(content): content for content in contents}
    drawn = {identity for identity, content in distinct.items() if isinstance(content, Distribution)}
    listed: list[list[Any]] = [list(tensors), list(contents), list(keys), list(shards)]
    others: list[Task] = []
    left: list[Task] = []
    if len(drawn) < len(distinct):
        tasks: list[Task] = []
        chosen = [id(content) in drawn for content in contents]
        for row in compress(zip(*listed, strict=True), map(not_, chosen)):
            for task in tasks_of(*row):
                if isinstance(task.law, Distribution):
                    tasks.append(task)
                elif type(task.tensor) in PLAIN:
                    left.append(task)
                else:
                    others.append(task)
        listed = [list(compress(column, chosen)) for column in listed]
        if tasks:
            listed = [[*column, *part] for column, part in zip(listed, columns(tasks, 4), strict=True)]
        if tasks:
            known = None
        elif known is not None:
            known = Seen(list(compress(known.kinds, chosen)), list(compress(known.addresses, chosen)), [])
    fill_tasks_(others)
    fill_listed_(listed[0], listed[1], listed[2], listed[3], known)
    fill_tasks_(left)


def fill_tasks_(tasks: Iterable[Task]) -> None:
    """Do each of them. Computed values are there for one parameter at a time, for all of its boxes."""
    for _, alike in groupby(tasks, key=lambda task: (id(task.law), task.key)):
        _fill_alike_(*alike)


def _fill_alike_(*tasks: Task) -> None:
    law = tasks[0].law
    values = Fixed(law.value(tasks[0].key.seed)) if isinstance(law, Computed) else law
    for task in tasks:
        _fill_task_(task._replace(law=values))


def _fill_task_(task: Task) -> None:
    tensor, law, key, shard = task
    assert not isinstance(law, Computed)
    if isinstance(law, Fixed):
        assert shard is not None
        slices = tuple(slice(o, o + n) for o, n in zip(shard.global_offset, tensor.shape, strict=True))
        write(tensor, partial(_copy, law.values[slices]))
    else:
        fill_law_(tensor, law, key=key, shard=shard)


def fill_planned_(tensor: Tensor, planned: Planned, shard: LocalShard | None = None) -> None:
    """Fill a tensor that stands for a parameter, or for the part of it that the shard says."""
    fill_tasks_(tasks_of(tensor, planned.law, planned.key, shard))


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
