"""One tensor: ours, torch's and ``fill_`` as the roof, in turn, at several sizes. The rows are those of ``bench micro``."""

from collections.abc import Callable
from functools import partial

from bench import gate, memory, micro
from bench.layouts import LAYOUTS
from bench.providers import DTYPES, FILLS, GRAPH, KEY, MAIN, OURS, ROOF
from bench.timing import Events, interleaved
from gpu.here import Here


def cases(here: Here) -> dict[str, Callable[[], dict]]:
    found = {  # the largest first, of which the goals are
        f"{dtype}, {size} bytes": partial(_measured, here, dtype, "linear", size, tuple(FILLS))
        for size in reversed(here.sizes.bench)
        for dtype in here.sizes.measured
    }
    size = here.sizes.bench[-2]
    others = [layout for layout in LAYOUTS if layout != "linear"]
    return found | {
        f"{dtype}, {size} bytes, {layout}": partial(_measured, here, dtype, layout, size, (MAIN,))
        for layout in others
        for dtype in here.sizes.measured
    }


def _measured(here: Here, dtype: str, layout: str, size: int, fills: tuple[str, ...]) -> dict:
    tensor, shard = LAYOUTS[layout](size // DTYPES[dtype].itemsize, DTYPES[dtype], here.device)
    calls: micro.Calls = {ROOF: lambda: tensor.fill_(1.0)}
    for fill in fills:
        benchmarked = FILLS[fill]
        ours = benchmarked.ours(tensor, shard)
        gate.check(f"{fill} of a {layout} {dtype}", ours, tensor, benchmarked.law, KEY, shard)
        calls[fill, OURS] = ours
        if fill == MAIN:
            calls[fill, GRAPH] = replay = micro.captured(ours)
            gate.check(f"{fill} of a {layout} {dtype}, replayed", replay, tensor, benchmarked.law, KEY, shard)
        calls |= {(fill, name): partial(other, tensor) for name, other in benchmarked.others.items()}
    extra = {name: memory.extra_bytes(call, here.told) for name, call in calls.items()}  # warms them, too
    least, most = here.sizes.rounds
    timings = interleaved(calls, here.device, here.sizes.seconds, least, most, Events(here.device))
    found = micro.rows_of(timings, extra, dtype, layout, tensor)
    fractions = {f"{row['fill']}, {row['provider']}": float(row["fraction_of_memset"]) for row in found}
    return {"GB/s of fill_": float(found[0]["gb_per_s"]), **fractions, "bench": {"micro": found}}
