"""Tables of what only a CPU has: numbers of threads, the peers of other libraries, and the host's time for whole models."""

from bench import tables
from bench.providers import ERFINV, OURS, ROOF, TORCH
from bench.rows import Row


def threads() -> str:
    """Nanoseconds an element by the number of threads, at the size that all numbers were measured at."""
    found = _of_one_size()
    counts = sorted({int(row["threads"]) for row in found})
    if len(counts) < 2:
        return ""
    at = {(row["fill"], row["provider"], row["dtype"], int(row["threads"])): row for row in found}
    heads = [f"{name}, {count} thread{'s' * (count > 1)}" for name in (OURS, f"`{TORCH}`") for count in counts]
    lines = tables.head(["fill", "dtype", *heads])
    for fill, dtype in dict.fromkeys((row["fill"], row["dtype"]) for row in found if row["provider"] == OURS):
        cells = [tables.ns(at.get((fill, name, dtype, count))) for name in (OURS, TORCH) for count in counts]
        lines.append(tables.line(f"`{fill}`", tables.SHORT[dtype], *cells))
    return tables.table(
        f"A weight of {_size(found)} by the number of threads: medians, ns an element.", found[0], lines
    )


def peers() -> str:
    """What other libraries take on one thread."""
    found = [row for row in _of_one_size() if row["threads"] == "1"]
    known = {OURS, TORCH, ERFINV, ROOF[1], "Tensor.normal_"}
    others = sorted({row["provider"] for row in found} - known)
    if not others:
        return ""
    at = {(row["fill"], row["provider"], row["dtype"]): row for row in found}
    names = [OURS, TORCH, "Tensor.normal_", *others]
    cases = list(dict.fromkeys((row["fill"], row["dtype"]) for row in found if row["provider"] in others))
    lines = tables.head(["provider", *(f"`{fill}` {tables.SHORT[dtype]}" for fill, dtype in cases)])
    for name in names:
        cells = [tables.ns(at.get((fill, name, dtype))) for fill, dtype in cases]
        lines.append(tables.line(name, *cells))
    title = f"A weight of {_size(found)} on one thread, by each library's own generator: medians, ns an element."
    return tables.table(title, found[0], lines)


def scale() -> str:
    """The host's time for each parameter of a model, by how many it has."""
    found = tables.latest("scale", "cpu")
    if not found:
        return ""
    lines = tables.head(["parameters", "kind", "`init_model_`", "calls", "`verify_model_`", "calls"])
    for row in found:
        cells = (
            f"{float(row['init_us']):.1f}",
            row["init_calls"],
            f"{float(row['verify_us']):.1f}",
            row["verify_calls"],
        )
        lines.append(tables.line(f"{int(row['parameters']):,}", row["kind"], *cells))
    title = (
        "Models with a tensor of four elements for each expert matrix, and the same as DTensors on one rank of 1,024: the "
        "host's microseconds a parameter, report included, medians of CPU time, and calls of functions a parameter."
    )
    return tables.table(title, found[0], lines)


def live() -> str:
    """What a live initialisation adds to a parameter."""
    found = tables.latest("live", "cpu")
    if not found:
        return ""
    lines = tables.head(["`torch.nn.init`", "collector", "torch", "more with `keyed`"])
    for row in found:
        times = f"{float(row['torch_us']):.1f}", f"{float(row['added_us']):.1f}"
        lines.append(tables.line(f"`{row['init']}`", row["collector"], *times))
    title = (
        f"{int(found[0]['parameters']):,} matrices of 16x16, initialised within `fastinit.keyed`, with Python's collector on and "
        "off: microseconds a parameter, report included, medians of CPU time. fastinit's own numbers are a part of what is more."
    )
    return tables.table(title, found[0], lines)


def _of_one_size() -> list[Row]:
    """Rows of the largest contiguous weight that every number of threads was measured at."""
    found = [row for row in tables.latest("micro", "cpu") if row["layout"] == "linear" and row["threads"]]
    by_count = [
        {row["bytes"] for row in found if row["threads"] == count} for count in {row["threads"] for row in found}
    ]
    common = set.intersection(*by_count) if by_count else set()
    return [row for row in found if common and row["bytes"] == max(common, key=int)]


def _size(found: list[Row]) -> str:
    return tables.size_text(int(found[0]["bytes"]))
