"""report.md: what the rows say, the goals first, then what failed, then all figures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench import rows as bench_rows
from bench.providers import MAIN, OURS, TORCH
from gpu.rows import DEFAULT, ROOF, File, Row, cases
from gpu.steps import STEPS

FAILURES = "## What failed"


class Goal(NamedTuple):
    text: str
    least: float  # or at most, where it is a time
    measured: float | None
    is_time: bool = False

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "not measured"
        met = self.measured <= self.least if self.is_time else self.measured >= self.least
        return "met" if met else "missed"


def write(file: File, path: Path) -> str:
    """Write the report; its text."""
    text = "\n".join(_lines(file.read())) + "\n"
    path.write_text(text)
    return text


def is_well(file: File) -> bool:
    """Whether every case of every step that was begun has come to its end, and found nothing wrong."""
    rows = file.read()
    begun = {row["step"]: row["ended"] for row in rows if row["kind"] == "step"}
    failed = [row for step in begun for row in cases(rows, step).values() if not row["ok"]]
    return bool(begun) and all(begun.values()) and not failed and not _broken(rows)


def _broken(rows: list[Row]) -> str | None:
    """Why the machine could not be looked at, the last time."""
    return next((row.get("error") for row in reversed(rows) if row["kind"] == "run"), None)


def _lines(rows: list[Row]) -> Iterator[str]:
    machine = next((row for row in reversed(rows) if row["kind"] == "run"), {})
    yield "# fastinit on a GPU\n"
    yield ", ".join(f"{name} {value}" for name, value in machine.items() if name != "kind" and value not in ("", None))
    yield "\n| goal | wanted | measured | |\n|---|---|---|---|"
    for goal in goals(rows):
        measured = "-" if goal.measured is None else f"{goal.measured:.4g}"
        yield f"| {goal.text} | {'≤' if goal.is_time else '≥'} {goal.least:g} | {measured} | {goal.verdict} |"
    yield "\n| step | cases | failed | seconds | |\n|---|---|---|---|---|"
    for step in STEPS:
        found, ended = cases(rows, step), [row for row in rows if row["kind"] == "step" and row["step"] == step]
        if not ended:
            yield f"| {step} | | | | not run |"
            continue
        failed = sum(not row["ok"] for row in found.values())
        seconds = sum(row.get("seconds", 0.0) for row in ended)
        yield f"| {step} | {len(found)} | {failed} | {seconds:.0f} | {ended[-1]['why'] or 'to its end'} |"
    chosen = list(_chosen(rows))
    if chosen:
        yield "\n| sweep | fastest | us | as it is, us | |\n|---|---|---|---|---|"
        yield from chosen
    yield f"\n{FAILURES}\n"
    failures = [(step, row) for step in STEPS for row in cases(rows, step).values() if not row["ok"]]
    for step, row in failures:
        yield f"- {step}, {row['case']}:\n\n{_indented(row['error'])}\n"
    if not failures:
        yield "Nothing."
    absent = [row for step in STEPS for row in cases(rows, step).values() if "not here" in (row.get("figures") or {})]
    if absent:
        yield "\n## What this machine cannot tell\n"
        yield from (f"- {row['step']}, {row['case']}: {row['figures']['not here']}" for row in absent)
    yield "\n## Figures"
    for step in STEPS:
        for case, row in cases(rows, step).items():
            figures = {name: value for name, value in (row.get("figures") or {}).items() if name != "bench"}
            if figures:
                yield f"\n### {step}: {case}\n"
                yield from _figures(figures)


def _chosen(rows: list[Row]) -> Iterator[str]:
    """Of each group of the sweep the fastest variant, and whether the spread of both leaves a doubt that it is faster."""
    for case, row in cases(rows, "sweep").items():
        variants = {name: found for name, found in (row.get("figures") or {}).items() if name != ROOF}
        if DEFAULT in variants:
            name, best = min(variants.items(), key=lambda item: item[1]["median, us"])
            default = variants[DEFAULT]
            clear = best["p80, us"] < default["p20, us"]
            verdict = f"{default['median, us'] / best['median, us'] - 1:.1%} faster" + ("" if clear else ", in doubt")
            verdict = "stays" if name == DEFAULT else verdict
            yield f"| {case} | {name} | {best['median, us']} | {default['median, us']} | {verdict} |"


def _figures(figures: dict[str, Any]) -> Iterator[str]:
    """A table where each figure is one of several columns, else a list."""
    tables = {name: value for name, value in figures.items() if isinstance(value, dict)}
    for name, value in figures.items():
        if name not in tables:
            yield f"- {name}: " + (
                "".join(f"\n    - {line}" for line in value) if isinstance(value, list) else str(value)
            )
    if tables:
        columns = list(dict.fromkeys(column for value in tables.values() for column in value))
        yield f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}"
        for name, value in tables.items():
            yield f"| {name} | {' | '.join(str(value.get(column, '')) for column in columns)} |"


def _indented(text: str, lines: int = 12) -> str:
    return "\n".join("    " + line for line in text.splitlines()[:lines])


def goals(rows: list[Row]) -> list[Goal]:
    """What the fills are to reach, each at the largest size that was measured, and what they reached."""
    fp32, bf16 = _largest(rows, "float32"), _largest(rows, "bfloat16")
    found = [
        Goal("fp32, 3 sigma, of fill_", 0.95, fp32.get((MAIN, OURS, "fraction"))),
        Goal("bf16, 3 sigma, of fill_", 0.50, bf16.get((MAIN, OURS, "fraction"))),
    ]
    for name, of in (("fp32", fp32), ("bf16", bf16)):
        for text, least, other in (
            ("Tensor.normal_", 2.0, ("normal_", "Tensor.normal_")),
            ("nn.init.trunc_normal_", 20.0, (MAIN, TORCH)),
        ):
            ours, theirs = of.get((MAIN, OURS, "ns")), of.get((*other, "ns"))
            found.append(Goal(f"{name}, times {text}", least, theirs / ours if ours and theirs else None))
    lists = (Goal(f"10 000 tensors of {name}, ms", 50.0, _list(rows, name), True) for name in ("bfloat16", "float32"))
    return [*found, *lists]


def _largest(rows: list[Row], dtype: str) -> dict[tuple[str, str, str], float]:
    """(fill, provider, "ns" or "fraction") -> figure, of the largest contiguous tensor of a dtype."""
    found = [row for row in measured(rows, "micro") if row["dtype"] == dtype and row["layout"] == "linear"]
    largest = max((int(row["bytes"]) for row in found), default=0)
    figures = {}
    for row in found:
        if int(row["bytes"]) == largest:
            figures[row["fill"], row["provider"], "ns"] = float(row["ns_per_element"])
            figures[row["fill"], row["provider"], "fraction"] = float(row["fraction_of_memset"])
    return figures


def _list(rows: list[Row], dtype: str) -> float | None:
    lists = [row for row in measured(rows, "model") if row["provider"] == f"{OURS}.foreach_fill_"]
    found = [row for row in lists if row["dtype"] == dtype]
    return 1e3 * float(found[-1]["seconds"]) if found else None


def measured(rows: list[Row], name: str) -> list[bench_rows.Row]:
    """The rows of a benchmark that cases have brought."""
    return [
        one
        for step in STEPS
        for row in cases(rows, step).values()
        if row["ok"]
        for one in (row.get("figures") or {}).get("bench", {}).get(name, [])
    ]


def to_bench(file: File) -> None:
    """Append them to bench/results, with the machine that they were measured on."""
    rows = file.read()
    machine = next(row for row in reversed(rows) if row["kind"] == "run" and "error" not in row)
    shared = {name: machine[name] for name in bench_rows.ENVIRONMENT}
    for name in ("micro", "small", "model"):
        found = measured(rows, name)
        if found:
            print(f"{bench_rows.append(name, [row | shared for row in found])}: {len(found)} rows")
