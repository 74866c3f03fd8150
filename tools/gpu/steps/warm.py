"""Compiles what the sweep compares: by many processes, into Triton's cache on the disk, so that the sweep measures at once."""

from collections.abc import Callable
from functools import partial

import torch

from gpu.here import Here
from gpu.variants import Group, groups


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    return {
        f"{name}: {variant}": partial(_called, group, variant)
        for name, group in groups(here).items()
        for variant in group.variants
        if not name.endswith(("persistent", "blocks and programs"))  # which are launches of other kernels' code
    }


def _called(group: Group, variant: str) -> dict:
    tensors = group.tensors(True)
    group.variants[variant](tensors).call()
    torch.cuda.synchronize()
    return {}
