"""A model of ten thousand matrices: in one call, one by one, by name, and by torch. The rows are those of ``bench model``."""

from collections.abc import Callable
from functools import partial

from bench import model
from bench.providers import DTYPES
from gpu.here import Here


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    return {f"{dtype}": partial(_measured, here, dtype) for dtype in here.sizes.measured}


def _measured(here: Here, dtype: str) -> dict:
    filled = model.moe(*here.sizes.experts, here.sizes.matrix, DTYPES[dtype], here.device)
    found = model.measure(filled, dtype, here.told, here.sizes.rounds[0], {})
    figures = {f"{row['provider']}, ms": round(1e3 * float(row["seconds"]), 3) for row in found}
    hosts = {f"{row['provider']}, host us a tensor": float(row["host_us_per_tensor"]) for row in found}
    return {"tensors": int(found[0]["tensors"]), **figures, **hosts, "bench": {"model": found}}
