"""Draw the pictures of docs/how: what the scaled logarithm does. The same bytes each time.

python tools/pictures.py
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from scipy.special import erfinv

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.plots import INK, STYLE  # noqa: E402  # from this folder, as bench/ is not installed

OURS, THEIRS = "#0072B2", "#D55E00"


def main() -> None:
    """Both pictures, as SVG."""
    for name, draw in (("ratio", ratio), ("bump", bump)):
        with mpl.rc_context(STYLE):
            path = ROOT / "docs" / "how" / f"{name}.svg"
            draw().savefig(path, metadata={"Date": None, "Creator": None})
            print(path.relative_to(ROOT))


def ratio() -> Figure:
    """The quantile divided by x, against x squared and against the logarithm."""
    x = np.concatenate([np.linspace(1e-3, 0.9, 400), 1 - np.geomspace(0.1, 1e-6, 800)])
    value = np.sqrt(2) * erfinv(x) / x
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.plot(x**2, value, color=THEIRS)
    left.set(title="against x²", xlabel="x²", ylabel="z / x")
    t = np.log2(1 - x**2)
    right.plot(t, value, color=OURS)
    right.set(title="against t = log₂(1 − x²)", xlabel="t")
    right.invert_xaxis()
    for bound in (2, 3, 4):
        at = np.interp(bound, np.sqrt(2) * erfinv(x), x)
        left.plot(at**2, bound / at, "o", color=INK, markersize=3)
        right.plot(np.log2(1 - at**2), bound / at, "o", color=INK, markersize=3)
        right.annotate(
            f"{bound} sigma", (np.log2(1 - at**2), bound / at), (6, -10), textcoords="offset points", fontsize=8
        )
    return figure


def bump() -> Figure:
    """The bits of a float as an integer, scaled, beside its logarithm, and what lies between them."""
    y = np.geomspace(0.25, 4, 2000).astype(np.float32)
    line = y.view(np.int32) / 2**23 - 127
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(y, np.log2(y), color=THEIRS, label="log₂ y")
    left.plot(y, line, color=OURS, label="the bits of y / 2²³ − 127")
    left.set(title="a float and its own bits", xlabel="y")
    left.legend()
    right.plot(y, np.log2(y) - line, color=OURS)
    right.set(title="the bump between them", xlabel="y", xscale="log", xticks=[0.25, 0.5, 1, 2, 4])
    right.set_xticklabels(["1/4", "1/2", "1", "2", "4"])
    right.minorticks_off()
    return figure


if __name__ == "__main__":
    main()
