"""Marks: what Megatron-core's parameters, which are plain tensors, say of a model that is one rank's part."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from fastinit.model.shown import shown
from fastinit.model.walk import Found


def check_marks(found: Iterable[Found], renamed: bool) -> None:
    """Raise ``ValueError`` for parameters, none of a stated shard, that would have the numbers of another rank's.

    A tensor-parallel rank's part of a parameter looks whole, and an expert-parallel rank counts its experts from 0.
    """
    cut, local = [], []
    for parameter in found:
        marks = parameter.parameter.__dict__
        if marks.get("tensor_model_parallel") and _ranks(parameter.owner) > 1:
            cut.append(parameter.name)
        elif marks.get("allreduce") is False and not renamed:
            local.append(parameter.name)
    if cut:
        raise ValueError(
            f"model: expected whole parameters, or shards= that say where each lies, got these {len(cut)} parts of a "
            "tensor-parallel rank; record the whole model, and fill this one by init_model_:\n  " + _lines(cut)
        )
    if local:
        raise ValueError(
            "rename: expected the name of each expert among those of all ranks, got none for these "
            f"{len(local)}, which are counted on each rank:\n  " + _lines(local)
        )


def _ranks(owner: nn.Module) -> int:
    """How many ranks share the parameters of a module."""
    group: Any = getattr(owner, "tp_group", None)
    return 1 if group is None else group.size()


def _lines(names: list[str]) -> str:
    return "\n  ".join(map(shown, names))
