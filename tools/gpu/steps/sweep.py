"""The constants of backends/triton.py and triton_table.py: each variant is right, and takes turns with ``fill_``."""

from collections.abc import Callable
from functools import partial

import torch

from bench.timing import Events, interleaved
from fastinit.shard.bits import bits_of
from gpu.here import Here
from gpu.rows import DEFAULT, ROOF
from gpu.truth import Wrong
from gpu.variants import Group, Variant, groups


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    return {name: partial(_compared, here, group) for name, group in groups(here).items()}


def _compared(here: Here, group: Group) -> dict:
    """The fastest first: microseconds, and the fraction of the roof. A variant that fails or is wrong is not timed."""
    tensors = group.tensors(False)
    made = {DEFAULT: _warmed(group.variants[DEFAULT], tensors)}
    expected = [tensor.clone() for tensor in _some(tensors)]
    wrong = []
    for name, make in group.variants.items():
        if name == DEFAULT:
            continue
        try:
            variant = _warmed(make, tensors)
            if all(map(_same, _some(tensors), expected)):
                made[name] = variant
            else:
                wrong.append(f"{name}: other bits")
        except Exception as error:  # of a variant that this GPU cannot run
            wrong.append(f"{name}: {type(error).__name__}: {error}".splitlines()[0])
    del expected
    calls: dict[str, Callable[[], object]] = {ROOF: lambda: [tensor.fill_(1.0) for tensor in tensors]}
    calls |= {name: variant.call for name, variant in made.items()}
    least, most = here.sizes.rounds
    timings = interleaved(calls, here.device, here.sizes.seconds, least, most, Events(here.device))
    figures = {}
    for name, timing in sorted(timings.items(), key=lambda item: item[1].median):
        times = {f"{which}, us": round(getattr(timing, which) * 1e6, 2) for which in ("median", "p20", "p80")}
        share = round(timings[ROOF].median / timing.median, 4)
        figures[name] = times | {"of fill_": share} | (_kernel(made[name]) if name in made else {})
    if wrong:
        raise Wrong("; ".join(wrong), **figures)
    return figures


def _warmed(make: Callable, tensors: list[torch.Tensor]) -> Variant:
    for tensor in tensors:
        tensor.fill_(torch.nan)
    variant = make(tensors)
    variant.call()
    torch.cuda.synchronize()
    return variant


def _some(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Of long lists a part, as each comparison takes a launch."""
    return tensors[:: max(1, len(tensors) // 50)]


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(bits_of(one), bits_of(other))


def _kernel(variant: Variant) -> dict:
    kernels = [kernel for repeated in variant.launches for kernel in repeated.kernels.values()]
    return {"registers": kernels[0].n_regs, "spills": kernels[0].n_spills} if kernels else {}
