"""``fastinit doctor``, a dtype in a process, as the kernels take longer to compile than all else."""

from collections.abc import Callable
from functools import partial

import torch

from fastinit.cli import doctor
from gpu.here import Here
from gpu.truth import Wrong


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    checks = {str(dtype).removeprefix("torch."): partial(_checks, dtype) for dtype in here.sizes.dtypes}
    return {"versions": lambda: {"lines": list(doctor.versions())}, **checks}


def _checks(dtype: torch.dtype) -> dict:
    doctor.DTYPES = (dtype,)
    found = list(doctor.checks())
    figures = {"lines": [f"{'ok' if well else 'FAIL'}  {line}" for line, well in found]}
    if not all(well for _, well in found):
        raise Wrong("; ".join(line for line, well in found if not well), **figures)
    return figures
