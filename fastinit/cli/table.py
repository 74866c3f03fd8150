"""The table of a run: a row a role, from the report of its fills."""

from collections.abc import Sequence
from itertools import groupby
from math import prod

from fastinit.cli.stopwatch import Stopwatch
from fastinit.law.distributions import Normal, TruncatedNormal
from fastinit.model.report import Row, law_text, shape_text, table
from fastinit.model.tiles import Content

FASTINIT, TORCH = "fastinit", "torch"


def roles_table(rows: Sequence[Row], watch: Stopwatch, itemsize: int, compare: bool) -> str:
    """Count, shape, rule, std, elements and speed of each role, whose rows follow each other; with ``compare`` torch's
    speed and the ratio too.
    """
    header = ["role", "count", "shape", "rule", "std", "elements", "ns/element", "GB/s"]
    if compare:
        header += ["torch ns/element", "ratio"]
    lines = []
    for role, found in groupby(rows, key=lambda row: row.role):
        members = list(found)
        elements = _elements(members)
        seconds = watch.seconds((FASTINIT, role))
        line = [role, str(len(members)), _shapes(members), _rule(members[0].law), _stds(members), f"{elements:,}"]
        line += [_nanoseconds(seconds, elements), _speed(elements * itemsize, seconds)]
        if compare:
            torch_seconds = watch.seconds((TORCH, role))
            line += [_nanoseconds(torch_seconds, elements), _ratio(torch_seconds, seconds)]
        lines.append(line)
    return table(header, lines, numbers=[name for name in header if name not in ("role", "shape", "rule", "std")])


def totals(rows: Sequence[Row], watch: Stopwatch, itemsize: int, compare: bool) -> str:
    """The last line: all elements, all time, and how torch.nn.init did on the same memory."""
    elements, roles = _elements(rows), {row.role for row in rows}
    seconds = sum(watch.seconds((FASTINIT, role)) for role in roles)
    speed = f"{_nanoseconds(seconds, elements)} ns/element, {_speed(elements * itemsize, seconds)} GB/s"
    lines = [f"{elements:,} elements in {seconds:.3f} s: {speed}"]
    if compare:
        torch_seconds = sum(watch.seconds((TORCH, role)) for role in roles)
        ratio = _ratio(torch_seconds, seconds)
        lines.append(f"torch.nn.init on the same tensors: {torch_seconds:.3f} s, {ratio} times as long")
    return "\n".join(lines)


def _elements(rows: Sequence[Row]) -> int:
    return sum(prod(row.global_shape) for row in rows)


def _shapes(members: Sequence[Row]) -> str:
    return ", ".join(dict.fromkeys(shape_text(row.global_shape) for row in members))


def _rule(law: Content | None) -> str:
    if isinstance(law, TruncatedNormal):
        return f"normal within {law.b / law.std:g} std" if law.std else "constant"
    return law_text(law).partition(",")[0]


def _stds(members: Sequence[Row]) -> str:
    """The std of all members, or the range where it depends on the block."""
    stds: list[float] = sorted({row.law.std for row in members if isinstance(row.law, (Normal, TruncatedNormal))})
    if not stds:
        return "-"
    return f"{stds[0]:.5g}" if len(stds) == 1 else f"{stds[0]:.5g} .. {stds[-1]:.5g}"


def _nanoseconds(seconds: float, elements: int) -> str:
    return f"{seconds / elements * 1e9:.3g}"


def _speed(size: int, seconds: float) -> str:
    return f"{size / seconds / 1e9:.3g}" if seconds else "-"


def _ratio(torch_seconds: float, seconds: float) -> str:
    return f"{torch_seconds / seconds:.2f}" if seconds else "-"
