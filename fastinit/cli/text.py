"""What a terminal shows: aligned tables, and a bar for what takes longer than a second."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]) -> str:
    """The rows under the header, in columns; those named in ``numbers`` are aligned on the right.

    >>> print(table(["kind", "count"], [["norm", "16"], ["q", "4"]], numbers=["count"]))
    kind  count
    norm     16
    q         4
    """
    widths = [max(len(row[k]) for row in (header, *rows)) for k in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if name in numbers else cell.ljust(width)
            for name, cell, width in zip(header, row, widths, strict=True)
        ).rstrip()
        for row in (header, *rows)
    ]
    return "\n".join(lines)


@contextmanager
def bar(total: int, label: str) -> Iterator[Callable[[int], object]]:
    """A function that moves a bar on. It is drawn after a second, on a terminal, and where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda count: None
        return
    # disable=None: no bar where stderr is no terminal.
    with tqdm(total=total, desc=label, unit=" elements", unit_scale=True, delay=1, disable=None, leave=False) as shown:
        yield shown.update
