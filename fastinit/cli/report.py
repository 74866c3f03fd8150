"""The table of a run: a row a kind of tensor."""

from collections.abc import Sequence
from itertools import groupby
from math import inf

from fastinit.cli.stopwatch import Stopwatch
from fastinit.cli.text import table
from fastinit.law.distributions import Distribution, TruncatedNormal
from fastinit.model.presets import Kind, ParameterSpec

FASTINIT, TORCH = "fastinit", "torch"
Filled = Sequence[tuple[ParameterSpec, Distribution | None]]


def kinds_table(filled: Filled, watch: Stopwatch, itemsize: int, compare: bool) -> str:
    """Count, shape, rule, std, elements and speed of each kind; with ``compare`` torch's speed and the ratio too."""
    header = ["kind", "count", "shape", "rule", "std", "elements", "ns/element", "GB/s"]
    if compare:
        header += ["torch ns/element", "ratio"]
    order = list(Kind)
    by_kind = groupby(sorted(filled, key=lambda pair: order.index(pair[0].kind)), key=lambda pair: pair[0].kind)
    rows = []
    for kind, pairs in by_kind:
        members = list(pairs)
        elements = sum(spec.numel for spec, _ in members)
        seconds = watch.seconds((FASTINIT, kind))
        row = [kind.value, str(len(members)), _shapes(members), _rule(members[0][1]), _stds(members), f"{elements:,}"]
        row += [_nanoseconds(seconds, elements), _speed(elements * itemsize, seconds)]
        if compare:
            torch_seconds = watch.seconds((TORCH, kind))
            row += [_nanoseconds(torch_seconds, elements), _ratio(torch_seconds, seconds)]
        rows.append(row)
    return table(header, rows, numbers=[name for name in header if name not in ("kind", "shape", "rule", "std")])


def totals(filled: Filled, watch: Stopwatch, itemsize: int, compare: bool) -> str:
    """The last line: all elements, all time, and how torch.nn.init did on the same memory."""
    elements = sum(spec.numel for spec, _ in filled)
    seconds = sum(watch.seconds((FASTINIT, kind)) for kind in Kind)
    speed = f"{_nanoseconds(seconds, elements)} ns/element, {_speed(elements * itemsize, seconds)} GB/s"
    lines = [f"{elements:,} elements in {seconds:.3f} s: {speed}"]
    if compare:
        torch_seconds = sum(watch.seconds((TORCH, kind)) for kind in Kind)
        ratio = _ratio(torch_seconds, seconds)
        lines.append(f"torch.nn.init on the same tensors: {torch_seconds:.3f} s, {ratio} times as long")
    return "\n".join(lines)


def _shapes(members: Filled) -> str:
    return ", ".join(dict.fromkeys("x".join(map(str, spec.shape)) for spec, _ in members))


def _rule(law: Distribution | None) -> str:
    if law is None:
        return "ones"
    if isinstance(law, TruncatedNormal):
        return f"normal within {law.b / law.std:g} std" if law.std else "constant"
    return "normal"


def _stds(members: Filled) -> str:
    """The std of all members, or the range where it depends on the block."""
    stds = sorted({getattr(law, "std", inf) for _, law in members if law is not None})
    if not stds:
        return "-"
    return f"{stds[0]:.5g}" if len(stds) == 1 else f"{stds[0]:.5g} .. {stds[-1]:.5g}"


def _nanoseconds(seconds: float, elements: int) -> str:
    return f"{seconds / elements * 1e9:.3g}"


def _speed(size: int, seconds: float) -> str:
    return f"{size / seconds / 1e9:.3g}" if seconds else "-"


def _ratio(torch_seconds: float, seconds: float) -> str:
    return f"{torch_seconds / seconds:.2f}" if seconds else "-"
