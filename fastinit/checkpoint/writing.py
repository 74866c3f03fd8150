"""A checkpoint is written whole or not at all: into a partial folder, which gets its name when everything is on the disk.

One that a signal or a power cut left is gone on with by ``resume``, which trusts nothing in it but what it proves. Several ranks
write one together: the first holds the name, and all of them their own files.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from fastinit.checkpoint import place
from fastinit.checkpoint.errors import Stopped, UsageError
from fastinit.checkpoint.files import problem_text
from fastinit.checkpoint.forms import Form
from fastinit.checkpoint.ranks import ALONE, Ranks
from fastinit.model.shown import shown, size_text


def write(
    directory: Path,
    form: Form,
    advance: Callable[[int], object],
    resume: bool = False,
    ranks: Ranks = ALONE,
    begun: Callable[[Path], object] = lambda partial: None,
) -> int:
    """Write the files of a checkpoint; the folder appears when all is there.

    With ``resume`` files of an earlier, partial run that prove to be right stay; the result is how many did. ``advance`` is told
    the bytes that this rank has done, ``begun`` the partial folder. Raises ``UsageError``, on every rank the same, for a name
    that is not to be had, a disk that is too small, or a partial checkpoint that stands in the way, and ``Stopped``, which
    names the partial folder, for an interrupt.
    """
    with ExitStack() as held:
        final, partial, found = ranks.from_first(lambda: _started(directory, form, resume, held))
        begun(partial)
        done = proven = 0
        problem: str | None = None
        try:
            if ranks.is_first:
                form.begin(partial)
            ranks.each(None)
            for was_there in form.write(partial, found, ranks, advance):
                done += 1
                proven += was_there
        except KeyboardInterrupt as stop:
            raise _stopped(stop, partial, form, done, keep=done > 0 or found) from None
        except OSError as error:
            problem = problem_text(error)
        except BaseException:
            if ranks.count == 1:  # others may be writing
                _left(partial, form, done, keep=found)
            raise
        outcomes = ranks.each((problem, done, proven))
        problem = next((said for said, _, _ in outcomes if said), None)
        done, proven = sum(each for _, each, _ in outcomes), sum(each for _, _, each in outcomes)

        def finish() -> None:
            if problem is None:
                _publish(directory, partial, final, form, done)
            else:
                raise UsageError(f"--out: {shown(directory)}: {problem}; {_left(partial, form, done, keep=found)}")

        ranks.from_first(finish)
        return proven


def _started(directory: Path, form: Form, resume: bool, held: ExitStack) -> tuple[Path, Path, bool]:
    """The final path, which is held from here on, the partial one, and whether that was there."""
    final = held.enter_context(place.reserved(directory))
    found = place.partial_of(final)
    if found and not resume:
        raise UsageError(
            f"--out: a partial checkpoint lies in {shown(found)}: --resume goes on with it, or else remove it"
        )
    if found:
        form.make_resumable(found)
    _check_space(final.parent, found, form.needed)
    return final, found or place.new_partial(final), found is not None


def _publish(directory: Path, partial: Path, final: Path, form: Form, done: int) -> None:
    try:
        form.end(partial)
        place.publish(partial, final)
    except KeyboardInterrupt as stop:
        raise _stopped(stop, partial, form, done, keep=True) from None
    except OSError as error:
        left = _left(partial, form, done, keep=True)
        raise UsageError(f"--out: {shown(directory)}: {problem_text(error)}; {left}") from None


def _stopped(stop: KeyboardInterrupt, partial: Path, form: Form, done: int, keep: bool) -> Stopped:
    number = stop.number if isinstance(stop, Stopped) else Stopped().number
    return Stopped(number, _left(partial, form, done, keep))


def _left(partial: Path, form: Form, done: int, keep: bool) -> str:
    """What a run that ends early leaves, in a few words: its partial folder, or nothing."""
    if not partial.exists():
        return "all files are in place"
    if keep and (form.keeps or done == form.count):
        return f"{done} of {form.count} files are in {shown(partial)}: --resume goes on with them"
    shutil.rmtree(partial, ignore_errors=True)
    return "what was written is removed"


def _check_space(parent: Path, partial: Path | None, needed: int) -> None:
    """Raise ``UsageError`` unless the disk has room for what the partial folder does not hold yet."""
    if partial:
        with os.scandir(partial) as entries:
            needed -= sum(entry.stat(follow_symlinks=False).st_blocks * 512 for entry in entries)
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise UsageError(f"--out: {size_text(needed)} are needed, and {size_text(free)} are free in {shown(parent)}")
