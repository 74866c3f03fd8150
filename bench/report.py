"""The tables of the README and of the pages, bench/RESULTS.md and the plots: all from the rows on file, nothing by hand."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import cpu_tables, rows, tables

RESULTS = Path(__file__).parent / "RESULTS.md"
PLOTS = Path(__file__).parent / "plots"
CPU_TABLES = (cpu_tables.scale, cpu_tables.live, cpu_tables.threads, cpu_tables.peers)
KIND_NAMES = {"gpu": "GPU", "cpu": "CPU"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--png", type=Path, help="a folder: draw the plots there as PNG, and write nothing else")


def run(arguments: argparse.Namespace) -> int:
    # Only to draw: the tables need neither matplotlib nor scipy.
    from bench import plots

    if arguments.png:
        drawn = plots.write(arguments.png, "png")
    else:
        drawn = plots.write(PLOTS)
        for page, blocks in PAGES.items():
            page.write_text(updated(page, blocks), "utf-8")
        RESULTS.write_text(results(), "utf-8")
        drawn += [*PAGES, RESULTS]
    print("\n".join(map(str, drawn)))
    return 0


def updated(page: Path, blocks: Mapping[str, Callable[[], str]]) -> str:
    """A page with what is between its markers generated anew."""
    text = page.read_text("utf-8")
    for name, block in blocks.items():
        begin, end = f"<!-- {name}: generated -->\n", f"<!-- end of {name} -->"
        if begin not in text or end not in text:
            raise SystemExit(f"{page.name} has no markers for {name}")
        text = text[: text.index(begin) + len(begin)] + block() + "\n" + text[text.index(end) :]
    return text


def summary() -> str:
    """The README's part: the fills of one weight; on a GPU first, or that there was none."""
    parts = [] if tables.fills("gpu") else [f"{tables.UNCONFIRMED} {tables.headline_counts()}".strip()]
    return "\n\n".join([*parts, *(found for kind in tables.KINDS if (found := tables.fills(kind)))])


def speed() -> str:
    """The page's part: the fills, a sharded weight, a model."""
    parts = [] if tables.fills("gpu") else [f"{tables.UNCONFIRMED} {tables.headline_counts()}".strip()]
    for kind in tables.KINDS:
        found = [tables.fills(kind), _plot(f"throughput-{kind}", "plots"), tables.sharded(kind), tables.model(kind)]
        found += [cpu_tables.scale()] if kind == "cpu" else []
        parts += [part for part in found if part]
    parts.append(_plot("instructions", "plots"))
    return "\n\n".join(part for part in parts if part)


def law() -> str:
    """The table that `make prove` has written."""
    return (rows.RESULTS / "law.md").read_text("utf-8").strip()


def results() -> str:
    """bench/RESULTS.md: every table and every plot."""
    parts = [
        "# Results",
        "Written by `python -m bench report` from the rows in `bench/results/`; do not edit. `make bench` measures anew.",
    ]
    for kind, name in KIND_NAMES.items():
        found = [
            tables.fills(kind), _plot(f"throughput-{kind}", "plots"), _plot(f"fraction-{kind}", "plots"),
            _plot(f"memory-{kind}", "plots"), tables.layouts(kind), tables.sharded(kind), _plot(f"sharded-{kind}", "plots"),
            tables.model(kind), *([table() for table in CPU_TABLES] if kind == "cpu" else []),
        ]  # fmt: skip
        parts += [f"## On a {name}", *([part for part in found if part] or [tables.UNCONFIRMED])]
    parts += ["## Instructions", tables.instructions(), _plot("instructions", "plots")]
    parts += ["## The law", _plot("law", "plots")]
    return "\n\n".join(part for part in parts if part) + "\n"


_ALT = {
    "throughput": "GB/s by tensor size",
    "fraction": "Fraction of the memset's throughput",
    "memory": "Extra memory",
    "sharded": "A sharded weight by ranks",
    "instructions": "Instructions an element by class",
    "law": "Histograms of filled values against the true densities",
}
_FILES = {"throughput": "micro", "fraction": "micro", "memory": "micro", "sharded": "sharded"}


def _plot(name: str, folder: str = "bench/plots") -> str:
    """The plot's line, if there are rows for it."""
    what, _, kind = name.partition("-")
    exists = what == "law" or bool(tables.latest(_FILES[what], kind) if kind else tables.latest_counts())
    return f"![{_ALT[what]}]({folder}/{name}.svg)" if exists else ""


PAGES = {
    rows.ROOT / "README.md": {"summary": summary},
    rows.ROOT / "docs" / "performance.md": {"speed": speed},
    rows.ROOT / "docs" / "law.md": {"law": law},
}
