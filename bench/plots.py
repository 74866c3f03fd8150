"""Plots, as SVG files that depend on the rows alone: the same rows give the same bytes."""

from collections.abc import Callable
from math import inf
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from scipy.stats import norm, truncnorm, uniform

from bench import tables
from bench.providers import ERFINV, GRAPH, KEY, MAIN, OURS, ROOF, TORCH
from bench.sass import CLASSES
from fastinit.init import fill_
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal, Uniform

INK, QUIET, GRID = "#1f2328", "#656d76", "#e4e8ec"
# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = {OURS: "#0072B2", GRAPH: "#56B4E9", TORCH: "#D55E00", ERFINV: "#E69F00", ROOF[1]: "#8c959f"}
WAYS = {OURS: "#0072B2", "full tensor, then scatter": "#D55E00", "torch.nn.init of a DTensor": "#E69F00"}
UNITS = dict(zip(CLASSES, ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8c959f"), strict=True))
DTYPES = {"float32": "fp32", "bfloat16": "bf16"}
STYLE = {
    "svg.hashsalt": "fastinit",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#afb8c1",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
}
LAWS: dict[str, Distribution] = {
    "std 0.02, bounds ±3σ": TruncatedNormal(0.0, 0.02, -0.06, 0.06),
    "torch's default, ±2": TruncatedNormal(),
    "untruncated": Normal(),
    "half-normal, [0, ∞)": TruncatedNormal(0.0, 1.0, 0.0, inf),
    "far tail, [6, 8]": TruncatedNormal(0.0, 1.0, 6.0, 8.0),
    "uniform, [-0.1, 0.1)": Uniform(-0.1, 0.1),
}
_VALUES, _BINS = 2**22, 120


def write(folder: Path, kind: str = "svg") -> list[Path]:
    """Draw all that there are rows for."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with mpl.rc_context(STYLE):
        figures: dict[str, Figure | None] = {"law": law(), "instructions": instructions()}
        for device in tables.KINDS:
            for draw in (throughput, fraction, memory, sharded):
                figures[f"{draw.__name__}-{device}"] = draw(device)
        for name, figure in figures.items():
            if figure is not None:
                written.append(folder / f"{name}.{kind}")
                metadata = {"Date": None, "Creator": None} if kind == "svg" else None
                figure.savefig(written[-1], metadata=metadata, dpi=110)
    return written


def throughput(kind: str) -> Figure | None:
    """GB/s by size, of one law, with the memset as the roof."""
    found = [row for row in tables.widest(tables.latest("micro", kind)) if row["layout"] == "linear"]
    found = [row for row in found if row["fill"] in (MAIN, ROOF[0])]
    if not found:
        return None
    figure, axes = _figure("Throughput of a truncated normal (±3σ) by tensor size", tables.origin(found[0]), 2)
    for axis, dtype in zip(axes, DTYPES, strict=True):
        for provider, colour in COLOURS.items():
            line = [row for row in found if row["provider"] == provider and row["dtype"] == dtype]
            line.sort(key=lambda row: int(row["bytes"]))
            if not line:
                continue
            sizes = [int(row["bytes"]) for row in line]
            width = int(line[0]["bytes"]) / int(line[0]["elements"])
            low, high = ([width / float(row[q]) for row in line] for q in ("p80", "p20"))
            is_roof = provider == ROOF[1]
            axis.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
            axis.plot(
                sizes, [float(row["gb_per_s"]) for row in line], color=colour, label=f"{provider}, the roof" if is_roof else
                provider, linestyle="--" if is_roof else "-", linewidth=2.2 if provider == OURS else 1.5, marker="" if is_roof
                else "o", markersize=3.5, zorder=3 if provider == OURS else 2,
            )  # fmt: skip
        axis.set_title(DTYPES[dtype])
        _size_axis(axis, max(int(row["bytes"]) for row in found))
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_locator(NullLocator())
    axes[1].sharey(axes[0])
    axes[0].set_ylabel("GB/s written")
    _legend(figure, axes[0])
    return figure


def fraction(kind: str) -> Figure | None:
    """How near each fill comes to the memset, at the largest size."""
    at = tables.at_largest(tables.widest(tables.latest("micro", kind)))
    names = [fill for fill in dict.fromkeys(key[0] for key in at) if fill != ROOF[0]]
    if not names:
        return None
    first = next(iter(at.values()))
    size = tables.size_text(int(first["bytes"]))
    figure, axes = _figure(f"Fraction of the memset's throughput, {size}", tables.origin(first), 2)
    for axis, dtype in zip(axes, DTYPES, strict=True):
        bars = {
            provider: [
                float(at[fill, provider, dtype]["fraction_of_memset"]) * 100 if (fill, provider, dtype) in at else None
                for fill in names
            ]
            for provider in (OURS, GRAPH, TORCH, ERFINV)
        }
        _bars(axis, names, bars, COLOURS, lambda value: f"{value:.2g} %")
        axis.set_title(DTYPES[dtype])
        axis.set_xlabel("% of what Tensor.fill_ writes a second")
    axes[1].set_yticklabels([])
    _legend(figure, axes[0])
    return figure


def memory(kind: str) -> Figure | None:
    """What a fill allocates besides its tensor."""
    at = tables.at_largest(tables.widest(tables.latest("micro", kind)))
    if not at:
        return None
    first = next(iter(at.values()))
    figure, axes = _figure("Extra memory of a truncated normal (±3σ)", tables.origin(first), 2, height=2.6)
    for axis, dtype in zip(axes, DTYPES, strict=True):
        found = {p: at[MAIN, p, dtype] for p in (OURS, GRAPH, TORCH, ERFINV) if (MAIN, p, dtype) in at}
        copies = {p: int(row["extra_bytes"]) / int(row["bytes"]) for p, row in found.items()}
        bars = axis.barh(list(copies), list(copies.values()), color=[COLOURS[p] for p in copies], height=0.6)
        texts = [
            f"{copies[p]:.3g}×" if copies[p] >= 0.005 else tables.size_text(int(found[p]["extra_bytes"])) for p in found
        ]
        axis.bar_label(bars, texts, padding=4, fontsize=8, color=QUIET)
        axis.invert_yaxis()
        axis.set_xlim(0, max(1.0, *copies.values()) * 1.15)
        axis.grid(axis="y", visible=False)
        axis.set_title(DTYPES[dtype])
        axis.set_xlabel(f"times the tensor ({tables.size_text(int(first['bytes']))}), at the peak")
    axes[1].set_yticklabels([])
    return figure


def sharded(kind: str) -> Figure | None:
    """Time, traffic and memory by the number of ranks."""
    found = tables.latest("sharded", kind)
    if not found:
        return None
    first = found[0]
    shape = first["global_shape"].replace("x", " × ")
    title = f"A sharded weight of {shape}, {DTYPES[first['dtype']]}, by the number of ranks"
    figure, axes = _figure(title, tables.origin(first), 3)
    columns = {
        "seconds": ("time, ms", 1e3),
        "bytes_moved": ("moved by collectives, MiB", 2.0**-20),
        "extra_bytes_per_rank": ("extra memory a rank, MiB", 2.0**-20),
    }
    ranks = list(dict.fromkeys(row["ranks"] for row in found))
    for axis, (column, (label, scale)) in zip(axes, columns.items(), strict=True):
        width = 0.8 / len(WAYS)
        for k, (way, colour) in enumerate(WAYS.items()):
            values = [
                float(row[column]) * scale for row in found if row["provider"] == way and row["dtype"] == first["dtype"]
            ]
            places = [at + (k - 1) * width for at in range(len(values))]
            bars = axis.bar(places, values, width * 0.92, color=colour, label=way)
            texts = [f"{value:.2g}" if value < 100 else f"{value:.0f}" for value in values]
            texts = [text if value >= 1 or value == 0 else "<1" for text, value in zip(texts, values, strict=True)]
            axis.bar_label(bars, texts, padding=2, fontsize=7, color=QUIET)
        axis.set_xticks(range(len(ranks)), ranks)
        axis.set_xlabel("ranks")
        axis.set_title(label)
        axis.grid(axis="x", visible=False)
        axis.margins(y=0.12)
    _legend(figure, axes[0])
    return figure


def law() -> Figure:
    """Values of a few laws against their density. The values are a function of their key: this needs no rows."""
    figure, axes = _figure(
        "Filled values against the true density", "2²² fp32 values each, of seed 0", 6, columns=3, height=5
    )
    for axis, (name, distribution) in zip(axes, LAWS.items(), strict=True):
        values = fill_(torch.empty(_VALUES), distribution, key=KEY).double()
        edges = torch.linspace(float(values.min()), float(values.max()), _BINS + 1, dtype=torch.float64)
        counts = torch.histogram(values, edges).hist
        heights = counts / _VALUES / (edges[1] - edges[0])
        axis.stairs(heights.numpy(), edges.numpy(), fill=True, color=COLOURS[OURS], alpha=0.35, label="filled values")
        axis.plot(edges, _density(distribution, edges.numpy()), color=INK, linewidth=1.1, label="true density")
        axis.set_title(name)
        axis.set_ylim(bottom=0)
        axis.set_yticks([])
    _legend(figure, axes[0])
    return figure


def instructions() -> Figure | None:
    """Instructions an element, by the unit that executes them, of the kernels for sm_90."""
    found = [row for row in tables.latest_counts() if row["arch"] == "sm_90"]
    if not found:
        return None
    figure, axes = _figure(
        "Instructions an element by class, compiled for sm_90 (Hopper)", tables.origin(found[0]), 2, height=4.6
    )
    for axis, dtype in zip(axes, ("fp32", "bf16"), strict=True):
        cases = [row for row in found if row["dtype"] == dtype]
        names = [tables.LAWS[row["law"]] + (f", {row['layout']}" if row["layout"] != "flat" else "") for row in cases]
        left = [0.0] * len(cases)
        for unit, colour in UNITS.items():
            widths = [float(row[unit]) for row in cases]
            axis.barh(names, widths, 0.72, left=left, color=colour, label=unit)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        for place, row in enumerate(cases):
            total = float(row["per_element"])
            axis.text(total + 0.8, place, f"{total:.1f}", va="center", fontsize=8)
        axis.set_xlim(0, 70)
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.set_title(dtype)
        axis.set_xlabel("instructions an element")
    axes[1].set_yticklabels([])
    _legend(figure, axes[0])
    return figure


def _density(distribution: Distribution, x):
    if isinstance(distribution, Uniform):
        return uniform(distribution.a, distribution.b - distribution.a).pdf(x)
    mean, std = distribution.mean, distribution.std
    if isinstance(distribution, Normal):
        return norm(mean, std).pdf(x)
    return truncnorm((distribution.a - mean) / std, (distribution.b - mean) / std, mean, std).pdf(x)


def _figure(title: str, origin: str, panels: int, columns: int | None = None, height: float = 3.6):
    """A figure with its title, room for a legend below it, its panels, and what it was measured on."""
    columns = columns or panels
    figure = Figure(figsize=(9.6, height), layout="constrained")
    axes = figure.subplots(panels // columns, columns, squeeze=False).flatten().tolist()
    top, bottom = 1 - 0.62 / height, 0.27 / height
    figure.get_layout_engine().set(rect=(0, bottom, 1, top - bottom), hspace=0.05, wspace=0.04)
    figure.text(0.01, 1 - 0.1 / height, title, fontsize=12, fontweight="bold", va="top")
    figure.text(0.01, 0.08 / height, origin, color=QUIET, fontsize=7.5)
    return figure, axes


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    below_title = (0.003, 1 - 0.3 / figure.get_figheight())
    # In no layout: its place is known.
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=below_title, ncols=len(labels)).set_in_layout(False)


def _bars(
    axis: Axes,
    names: list[str],
    bars: dict[str, list[float | None]],
    colours: dict[str, str],
    text: Callable[[float], str],
) -> None:
    """Groups of horizontal bars; a provider without any has no place in a group."""
    bars = {provider: values for provider, values in bars.items() if any(value is not None for value in values)}
    height = 0.8 / len(bars)
    for k, (provider, values) in enumerate(bars.items()):
        places = [at + (k - (len(bars) - 1) / 2) * height for at, value in enumerate(values) if value is not None]
        numbers = [value for value in values if value is not None]
        drawn = axis.barh(places, numbers, height * 0.9, color=colours[provider], label=provider)
        axis.bar_label(drawn, [text(number) for number in numbers], padding=3, fontsize=7.5, color=QUIET)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.grid(axis="y", visible=False)


def _size_axis(axis: Axes, largest: int) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks([2**power for power in range(10, largest.bit_length(), 4)])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tables.size_text(value)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("tensor size")
