"""One tensor: every fill against torch's own and against ``fill_`` as the roof, over sizes, dtypes and layouts.

What the host spends on a call is told by one of a few elements (small.py).
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import torch
from torch import Tensor

from bench import gate, memory, rows, small
from bench import peers as other_libraries
from bench.layouts import LAYOUTS
from bench.providers import DTYPES, FILLS, GRAPH, KEY, MAIN, OURS, ROOF
from bench.timing import LEAST, Timing, interleaved

SIZES = (*(4**k * 2**8 for k in range(13)), 2**33)  # bytes: 256 (64 fp32 elements) to 4 GiB, and 8 GiB
BUDGET = 150.0  # seconds
LAYOUT_BYTES = {"cpu": 2**24, "cuda": 2**30}
GATE_BYTES = 2**17
# The roof, and every provider of these fills, in a call each.
Calls = dict[tuple[str, str], Callable[[], object]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--budget", type=float, default=BUDGET, help="about how many seconds to measure for")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="bytes; no tensor is larger")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--peers", action="store_true", help="other libraries too, where they are installed, on a CPU")
    parser.add_argument("--dry", action="store_true", help="print the rows, and append none")


def run(arguments: argparse.Namespace) -> int:
    rows.check("micro")
    rows.check("small")
    device, dtypes = arguments.device, {name: DTYPES[name] for name in arguments.dtypes}
    check_all(device, dtypes)
    shared = rows.environment(device)
    of_host = small.measure(device)
    small.show(of_host)
    if not arguments.dry:
        rows.append("small", [row | shared for row in of_host])
    for found in measure(device, dtypes, arguments.budget, arguments.largest, arguments.peers):
        for row in found:
            print(
                f"{row['fill']:24}{row['provider']:24}{row['dtype']:10}{row['layout']:11}{int(row['bytes']):>11,} B "
                f"{row['ns_per_element']:>11} ns {row['gb_per_s']:>9} GB/s {float(row['fraction_of_memset']):>7.1%}"
                f"{row['threads'] and ' threads: '}{row['threads']}",
                flush=True,
            )
        if not arguments.dry:
            rows.append("micro", [shared | row for row in found])
    return 0


def check_all(device: torch.device, dtypes: dict[str, torch.dtype]) -> None:
    """All that is about to be measured, in small: each fill of ours, dtype and layout against the reference."""
    for name, dtype in dtypes.items():
        for layout, make in LAYOUTS.items():
            tensor, shard = make(GATE_BYTES // dtype.itemsize, dtype, device)
            for fill, benchmarked in FILLS.items():
                call = benchmarked.ours(tensor, shard)
                gate.check(f"{fill} of a {layout} {name}", call, tensor, benchmarked.law, KEY, shard)


def measure(
    device: torch.device, dtypes: dict[str, torch.dtype], budget: float, largest: int, with_peers: bool = False
) -> Iterator[list[rows.Row]]:
    """Rows of each size, smallest first, until the next would exceed the budget; at one size of the other layouts,
    and on a CPU by the number of threads, and of the peers."""
    largest = min(largest, memory.largest_tensor(device))
    counts = thread_counts(device)
    begin, share = time.perf_counter(), budget / (len(SIZES) + len(LAYOUTS) + len(counts) + with_peers) / len(dtypes)
    left = share * len(dtypes) * len(SIZES)
    last, taken = SIZES[0], 0.0  # bytes, and the seconds that the fewest rounds of all dtypes take
    for size in SIZES:
        if size > largest or time.perf_counter() - begin + taken * size / last > left:
            break
        last, taken = size, 0.0
        for name, dtype in dtypes.items():
            started = time.perf_counter()
            found = cell(device, name, "linear", size // dtype.itemsize, share, fills=tuple(FILLS))
            taken += (time.perf_counter() - started) * LEAST / int(found[0]["repeats"])
            yield found
    size = min(LAYOUT_BYTES[device.type], _power(largest // 4))  # a bank is four times what is filled of it
    for name, dtype in dtypes.items():
        for layout in LAYOUTS:
            if layout != "linear":
                yield cell(device, name, layout, size // dtype.itemsize, share, fills=(MAIN,))
        for threads in counts:
            with limited(threads):
                yield cell(device, name, "linear", size // dtype.itemsize, share, fills=tuple(FILLS))
        if with_peers and device.type == "cpu":
            with limited(1):
                yield cell(
                    device, name, "linear", size // dtype.itemsize, share, tuple(FILLS), other_libraries.of(dtype)
                )


def thread_counts(device: torch.device) -> list[int]:
    """1, 2, 4, ... and what torch uses by itself, on a CPU."""
    most = torch.get_num_threads() if device.type == "cpu" else 1
    return [*(2**k for k in range((most - 1).bit_length())), most] if most > 1 else []


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """torch, and we with it, on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cell(
    device: torch.device,
    dtype: str,
    layout: str,
    elements: int,
    seconds: float,
    fills: tuple[str, ...],
    peers: Mapping[str, Mapping[str, Callable[[Tensor], object]]] = MappingProxyType({}),
) -> list[rows.Row]:
    """One dtype, layout and size: the gate, extra memory, then all providers in turn."""
    tensor, shard = LAYOUTS[layout](elements, DTYPES[dtype], device)
    calls: Calls = {ROOF: lambda: tensor.fill_(1.0)}
    for fill in fills:
        benchmarked = FILLS[fill]
        ours = {OURS: benchmarked.ours(tensor, shard)}
        gate.check(f"{fill} of a {layout} {dtype}", ours[OURS], tensor, benchmarked.law, KEY, shard)
        if device.type == "cuda" and fill == MAIN:
            ours[GRAPH] = captured(ours[OURS])
            gate.check(f"{fill} of a {layout} {dtype}, replayed", ours[GRAPH], tensor, benchmarked.law, KEY, shard)
        others = benchmarked.others | dict(peers.get(fill, {}))
        theirs = {provider: _bound(other, tensor) for provider, other in others.items()}
        calls |= {(fill, provider): call for provider, call in (ours | theirs).items()}
    extra = {name: memory.extra_bytes(call, device) for name, call in calls.items()}  # warms them, too
    timings = interleaved(calls, device, seconds)
    return rows_of(timings, extra, dtype, layout, tensor)


def rows_of(
    timings: dict[tuple[str, str], Timing],
    extra: Mapping[tuple[str, str], int],
    dtype: str,
    layout: str,
    tensor: Tensor,
) -> list[rows.Row]:
    """Of the roof and all providers that were timed with it."""
    roof, size = timings[ROOF].median, tensor.numel() * tensor.element_size()
    return [
        {
            "fill": fill,
            "provider": provider,
            "dtype": dtype,
            "layout": layout,
            "elements": str(tensor.numel()),
            "bytes": str(size),
            "ns_per_element": f"{timing.median / tensor.numel() * 1e9:.5g}",
            "p20": f"{timing.p20 / tensor.numel() * 1e9:.5g}",
            "p80": f"{timing.p80 / tensor.numel() * 1e9:.5g}",
            "gb_per_s": f"{size / timing.median / 1e9:.5g}",
            "fraction_of_memset": f"{roof / timing.median:.4f}",
            "extra_bytes": str(extra[fill, provider]),
            "repeats": str(timing.repeats),
            "threads": str(torch.get_num_threads()) if tensor.is_cpu else "",
        }
        for (fill, provider), timing in timings.items()
    ]


def captured(call: Callable[[], object]) -> Callable[[], object]:
    """The replay of a CUDA graph of the call, which has been called before: a capture compiles nothing."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def _bound(fill: Callable[[Tensor], object], tensor: Tensor) -> Callable[[], object]:
    return lambda: fill(tensor)


def _power(size: int) -> int:
    """The largest power of two that is no larger."""
    return 1 << (size.bit_length() - 1)
