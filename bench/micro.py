"""One tensor: every fill against torch's own, and against ``fill_`` as the roof, interleaved in one run."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

import fastinit
from bench import rows
from fastinit import Key, reference
from fastinit.distributions import TruncatedNormal
from fastinit.fill import Fill
from fastinit.geometry import LocalShard

KEY = Key.of("bench.weight", 0)
# name: (our fill, torch's); all take the tensor alone.
PROVIDERS: dict[str, tuple[Callable[[Tensor], object], Callable[[Tensor], object]]] = {
    "trunc_normal_ 3 sigma": (
        lambda t: fastinit.trunc_normal_(t, std=0.02, a=-0.06, b=0.06, key=KEY),
        lambda t: torch.nn.init.trunc_normal_(t, std=0.02, a=-0.06, b=0.06),
    ),
    "trunc_normal_ default": (
        lambda t: fastinit.trunc_normal_(t, key=KEY),
        lambda t: torch.nn.init.trunc_normal_(t),
    ),
    "normal_": (
        lambda t: fastinit.normal_(t, std=0.02, key=KEY),
        lambda t: torch.nn.init.normal_(t, std=0.02),
    ),
    "uniform_": (
        lambda t: fastinit.uniform_(t, -0.1, 0.1, key=KEY),
        lambda t: torch.nn.init.uniform_(t, -0.1, 0.1),
    ),
}


def gate(device: torch.device, dtype: torch.dtype) -> None:
    """No figure of a fill that is not the reference, bit for bit."""
    got = fastinit.trunc_normal_(torch.empty(10**6, dtype=dtype, device=device), std=0.02, a=-0.06, b=0.06, key=KEY)
    expected = torch.empty(10**6, dtype=dtype)
    reference.fill_(expected, Fill(TruncatedNormal(0.0, 0.02, -0.06, 0.06), KEY, LocalShard.whole((10**6,))))
    if not torch.equal(got.cpu(), expected):
        raise SystemExit(f"{dtype} on {device} differs from the reference: nothing is measured")


def measure(device: torch.device, elements: int, repeats: int) -> list[dict[str, str]]:
    """Rows of each provider and dtype; times in ns an element."""
    found = []
    shared = rows.environment(device)
    for dtype in (torch.float32, torch.bfloat16):
        gate(device, dtype)
        tensor = torch.empty(elements, dtype=dtype, device=device)
        calls: dict[tuple[str, str], Callable[[Tensor], object]] = {("fill_", "torch"): lambda t: t.fill_(1.0)}
        for name, (ours, theirs) in PROVIDERS.items():
            calls[name, "fastinit"], calls[name, "torch"] = ours, theirs
        for call in calls.values():
            call(tensor)
        times: dict[tuple[str, str], list[float]] = {provider: [] for provider in calls}
        for _ in range(repeats):
            for provider, call in calls.items():
                times[provider].append(_seconds(call, tensor) / elements * 1e9)
        roof = statistics.median(times["fill_", "torch"])
        for (name, provider), values in times.items():
            low, median, high = _quantiles(values)
            found.append(
                {
                    "fill": name, "provider": provider, "dtype": str(dtype).removeprefix("torch."),
                    "elements": str(elements), "ns_per_element": f"{median:.4f}", "p20": f"{low:.4f}", "p80": f"{high:.4f}",
                    "gb_per_s": f"{tensor.element_size() / median:.3f}", "fraction_of_memset": f"{roof / median:.4f}",
                }
                | shared
            )  # fmt: skip
    return found


def _seconds(call: Callable[[Tensor], object], tensor: Tensor) -> float:
    if tensor.is_cuda:
        torch.cuda.synchronize()
    begin = time.perf_counter()
    call(tensor)
    if tensor.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _quantiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    deciles = statistics.quantiles(values, n=10, method="inclusive")
    return deciles[1], statistics.median(values), deciles[7]
