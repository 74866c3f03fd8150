"""A bar for what takes longer than a second."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(total: int, label: str, unit: str = "B", quiet: bool = False) -> Iterator[Callable[[int], object]]:
    """A function that moves a bar of bytes, or of another unit, on.

    It is drawn after a second, on a terminal, where tqdm is installed, and unless it is to be ``quiet``; with the rate and the
    time that is left.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda count: None
        return
    # disable=None: no bar where stderr is no terminal.
    with tqdm(
        total=total, desc=label, unit=unit, unit_scale=True, delay=1, disable=quiet or None, leave=False
    ) as shown:
        yield shown.update
