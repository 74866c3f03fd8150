"""Tables, in markdown, from the rows on file: of each benchmark its latest run, on a GPU and on a CPU."""

from collections.abc import Iterable

from bench import rows
from bench.providers import ERFINV, GRAPH, MAIN, OURS, ROOF, TORCH
from bench.rows import Row

UNCONFIRMED = "On a GPU nothing has been timed yet: **no figure and no bit has been confirmed on a GPU so far.**"
KINDS = {"gpu": ("cuda", "rocm"), "cpu": ("cpu",)}
SHORT = {"float32": "fp32", "bfloat16": "bf16"}
BUSY = 0.5  # cores: the load from which a CPU's times are not its own
# What tools/sass.py calls the laws.
LAWS = {
    "3sigma": "±3σ",
    "default": "±2σ, the default",
    "wide": "±4σ",
    "normal": "untruncated",
    "half": "[0, ∞)",
    "lopsided": "[-σ, 5σ]",
    "far": "[6σ, 8σ]",
    "narrow": "[0.5σ, 0.6σ]",
    "uniform": "uniform",
}
_NONE = "-"


def latest(name: str, kind: str) -> list[Row]:
    """The rows of the latest run of a benchmark on this kind of device; none where there was none."""
    found = [row for row in rows.read(name) if row["device_type"] in KINDS[kind]]
    last = max(found, key=lambda row: row["date"], default=None)
    return [
        row for row in found if last and all(row[column] == last[column] for column in ("date", "device", "commit"))
    ]


def widest(found: list[Row]) -> list[Row]:
    """Those on as many threads as the run was given, where some were on fewer."""
    most = max((int(row["threads"] or 0) for row in found), default=0)
    return [row for row in found if int(row["threads"] or 0) == most]


def latest_counts() -> list[Row]:
    """The rows of the commit whose kernels were counted last."""
    found = rows.read("sass")
    last = max(found, key=lambda row: row["date"], default=None)
    return [row for row in found if last and row["date"] == last["date"]]


def origin(row: Row) -> str:
    """What the rows of a run were measured on, and when."""
    parts = [row["device"]]
    parts += [f"driver {row['driver']}"] if row["driver"] else []
    parts += [f"{row['threads']} thread{'s' * (row['threads'] != '1')}"] if row["threads"] else []
    if row["load"] and row["device_type"] == "cpu" and float(row["load"]) >= BUSY:
        parts += [f"busy with other work (load {row['load']})"]
    parts += [f"torch {row['torch']}"]
    parts += [f"Triton {row['triton']}"] if row["triton"] and row["device_type"] != "cpu" else []
    parts += [f"{name} {row[name]}" for name in ("numba", "llvmlite") if row[name] and row["device_type"] == "cpu"]
    parts += [f"fastinit {row['fastinit']} at {row['commit'] or 'an unknown commit'}", row["date"][:10]]
    return ", ".join(part for part in parts if part)


def at_largest(found: Iterable[Row], layout: str = "linear") -> dict[tuple[str, str, str], Row]:
    """By (fill, provider, dtype), the rows of the largest tensor of a layout that all dtypes were measured at."""
    found = [row for row in found if row["layout"] == layout]
    sizes = [{_power(row) for row in found if row["dtype"] == dtype} for dtype in SHORT]
    common = set.intersection(*(size for size in sizes if size)) if any(sizes) else set()
    return {(row["fill"], row["provider"], row["dtype"]): row for row in found if common and _power(row) == max(common)}


def fills(kind: str) -> str:
    """Each fill against torch's, of a large contiguous weight."""
    at = at_largest(widest(latest("micro", kind)))
    if not at:
        return ""
    with_graph = any(provider == GRAPH for _, provider, _ in at)
    heads = [OURS, *([GRAPH] if with_graph else []), f"`{TORCH}`", ERFINV]
    lines = head(
        [
            "fill",
            "dtype",
            *(f"{head}, ns" for head in heads),
            "times faster",
            "GB/s",
            "of memset",
            "extra memory, torch's",
        ],
    )
    for (fill, provider, dtype), row in at.items():
        if provider != OURS:
            continue
        others = [at.get((fill, other, dtype)) for other in ([GRAPH] if with_graph else []) + [TORCH, ERFINV]]
        theirs = at[fill, TORCH, dtype]
        lines.append(
            line(
                f"`{fill}`", SHORT[dtype], ns(row), *map(ns, others),
                f"{_number(theirs, 'ns_per_element') / _number(row, 'ns_per_element'):.1f}",
                f"{_number(row, 'gb_per_s'):.3g}", f"{_number(row, 'fraction_of_memset'):.1%}",
                f"{_copies(row)}, {_copies(theirs)}",
            )
        )  # fmt: skip
    first = next(iter(at.values()))
    return table(
        f"One contiguous weight of {size_text(_number(first, 'bytes'))}: medians, nanoseconds an element; the memset is "
        f"`{ROOF[1]}` of the same tensor in the same run; extra memory in copies of the tensor.",
        first,
        lines,
    )


def layouts(kind: str) -> str:
    """Ours against torch's, for each layout."""
    found = widest(latest("micro", kind))
    names = list(dict.fromkeys(row["layout"] for row in found))
    sizes = {row["layout"]: _power(row) for row in found if row["layout"] != "linear"}
    if not sizes:
        return ""
    at = {
        (row["layout"], row["provider"], row["dtype"]): row
        for row in found
        if row["fill"] in (MAIN, ROOF[0]) and _power(row) == min(sizes.values())
    }
    lines = head(["layout", "dtype", f"{OURS}, ns", f"`{TORCH}`, ns", "times faster", "of memset"])
    for name in names:
        for dtype in SHORT:
            ours, theirs = at.get((name, OURS, dtype)), at.get((name, TORCH, dtype))
            if ours and theirs:
                ratio = _number(theirs, "ns_per_element") / _number(ours, "ns_per_element")
                fraction = f"{_number(ours, 'fraction_of_memset'):.1%}"
                lines.append(line(name, SHORT[dtype], ns(ours), ns(theirs), f"{ratio:.1f}", fraction))
    title = f"`{MAIN}` of {size_text(min(sizes.values()))} in each layout: medians, nanoseconds an element."
    return table(title, found[0], lines)


def sharded(kind: str) -> str:
    """A weight over ranks."""
    found = latest("sharded", kind)
    if not found:
        return ""
    lines = head(["ranks", "way", "dtype", "ms", "bytes moved", "extra memory a rank", "a rank's shard"])
    for row in found:
        lines.append(
            line(
                row["ranks"], row["provider"], SHORT[row["dtype"]], f"{_number(row, 'seconds') * 1e3:.3g}",
                size_text(_number(row, "bytes_moved")), size_text(_number(row, "extra_bytes_per_rank")),
                size_text(_number(row, "shard_bytes")),
            )
        )  # fmt: skip
    title = (
        f"A weight of {found[0]['global_shape']}, sharded along its first dimension: medians of the slowest rank, and what "
        "all ranks' collectives write."
    )
    return table(title, found[0], lines)


def model(kind: str) -> str:
    """A model of many tensors."""
    found = latest("model", kind)
    if not found:
        return ""
    lines = head(["call", "dtype", "seconds", "tensors a second", "host, us a tensor"])
    for row in found:
        host = f"{_number(row, 'host_us_per_tensor'):.3g}" if row["host_us_per_tensor"] else _NONE
        lines.append(
            line(
                f"`{row['provider']}`", SHORT[row["dtype"]], f"{_number(row, 'seconds'):.3g}",
                f"{_number(row, 'tensors_per_s'):,.0f}", host,
            )
        )  # fmt: skip
    how = next((row["host_how"] for row in found if row["host_how"]), "")
    told = {
        "a driver that launches nothing": "; host time is that of the Triton path, with a driver that launches nothing",
        "until the call returns": "; host time is until the call returns",
    }
    each = int(found[0]["elements"]) // int(found[0]["tensors"])
    title = f"{int(found[0]['tensors']):,} expert matrices of {each:,} elements: medians{told.get(how, '')}."
    return table(title, found[0], lines)


def instructions() -> str:
    """Instructions an element of every kernel."""
    found = latest_counts()
    if not found:
        return ""
    arches = list(dict.fromkeys(row["arch"] for row in found))
    at = {(row["law"], row["layout"], row["dtype"], row["arch"]): row for row in found}
    lines = head(["law", "layout", "dtype", *arches])
    for law, layout, dtype in dict.fromkeys(key[:3] for key in at):
        cells = [at.get((law, layout, dtype, arch)) for arch in arches]
        lines.append(
            line(LAWS[law], layout, dtype, *(f"{_number(c, 'per_element'):.1f}" if c else _NONE for c in cells))
        )
    title = (
        "Instructions that a warp issues for an element, exact, from the compiled code (of gfx942 a bound: its text holds "
        "both sides of a branch)."
    )
    return table(title, found[0], lines)


def headline_counts() -> str:
    """One sentence of the counts."""
    at = {
        (row["law"], row["dtype"]): row for row in latest_counts() if row["arch"] == "sm_90" and row["layout"] == "flat"
    }
    if not at:
        return ""

    def count(law: str, dtype: str) -> str:
        return f"{_number(at[law, dtype], 'per_element'):.1f}"

    return (
        "What is known of the GPU code without a GPU is exact: compiled for sm_90, a contiguous fill issues "
        f"{count('3sigma', 'fp32')} instructions an fp32 element and {count('3sigma', 'bf16')} a bf16 one at 3 sigma, "
        f"{count('normal', 'fp32')} and {count('normal', 'bf16')} for `normal_` "
        f"(Triton {at['3sigma', 'fp32']['triton']}, commit {at['3sigma', 'fp32']['commit']}). `bench/NOTES.md` says how "
        "they came down."
    )


def size_text(size: float) -> str:
    """Bytes for people.

    >>> size_text(0), size_text(12945), size_text(2**26)
    ('0', '12.6 KiB', '64 MiB')
    """
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size:.0f} B" if size else "0"


def _power(row: Row) -> int:
    """Bytes as asked for: a misaligned tensor lacks an element."""
    return 1 << (int(row["bytes"]) - 1).bit_length()


def _number(row: Row, column: str) -> float:
    return float(row[column])


def ns(row: Row | None) -> str:
    """Nanoseconds an element."""
    return f"{_number(row, 'ns_per_element'):.3g}" if row else _NONE


def _copies(row: Row) -> str:
    """Extra memory, in copies of the tensor."""
    return f"{_number(row, 'extra_bytes') / _number(row, 'bytes'):.2f}"


def head(names: list[str]) -> list[str]:
    """A table's first two lines."""
    return [line(*names), "|" + "---|" * len(names)]


def line(*cells: str) -> str:
    """One more."""
    return f"| {' | '.join(cells)} |"


def table(title: str, row: Row, lines: list[str]) -> str:
    """The table under its title, and where its rows are from."""
    return "\n".join([f"{title} ({origin(row)}.)", "", *lines])
