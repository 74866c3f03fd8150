"""``fastinit doctor``: each of its lines is a case."""

import time
from collections.abc import Callable

from fastinit.cli import doctor
from gpu.here import Here
from gpu.truth import Wrong


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    return {"versions": lambda: {"lines": list(doctor.versions())}, "checks": _checks}


def _checks() -> dict:
    found, begin = list(doctor.checks()), time.perf_counter()
    figures = {"lines": [f"{'ok' if well else 'FAIL'}  {line}" for line, well in found]}
    if not all(well for _, well in found):
        raise Wrong("; ".join(line for line, well in found if not well), **figures)
    return figures | {"seconds": time.perf_counter() - begin}
