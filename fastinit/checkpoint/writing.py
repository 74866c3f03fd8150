"""A checkpoint is written whole or not at all: into a partial folder, which gets its name when everything is on the disk.

One that a signal or a power cut left is gone on with by ``resume``, which trusts nothing in it but what it proves. Several ranks
write one together: all of them hold the name, and each writes its own files.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

from fastinit.checkpoint import place
from fastinit.checkpoint.errors import Stopped, UsageError
from fastinit.checkpoint.files import problem_text
from fastinit.checkpoint.forms import Form
from fastinit.checkpoint.ranks import ALONE, Ranks
from fastinit.model.shown import shown, size_text

Begun = Callable[[Path], AbstractContextManager[object]]


def nobody_told(partial: Path) -> AbstractContextManager[object]:
    """Of the partial folder."""
    return nullcontext()


def write(
    directory: Path,
    form: Form,
    advance: Callable[[int], object],
    resume: bool = False,
    ranks: Ranks = ALONE,
    begun: Begun = nobody_told,
) -> int:
    """Write the files of a checkpoint; the folder appears when all is there.

    With ``resume`` files of an earlier, partial run that prove to be right stay; the result is how many did. ``advance`` is told
    the bytes that this rank has done, and ``begun`` the partial folder, which gets its name within what that gives. Raises
    ``UsageError``, on every rank the same, for a name that is not to be had, a disk that is too small, or a partial checkpoint
    that stands in the way, and ``Stopped``, which names the partial folder, for an interrupt.
    """
    several = ranks.count > 1
    with ExitStack() as held:
        final, partial, found = ranks.from_first(lambda: _started(directory, form, resume, several, held))
        ranks.agreed(lambda: None if ranks.is_first else held.enter_context(place.joined(final)))
        naming = begun(partial)
        run = _Run(directory, final, partial, found, form)
        proven: list[bool] = []
        try:
            problem = ranks.from_first(run.begin) or _written(run, ranks, advance, proven)
            with nullcontext() if ranks.is_first else naming:
                if not ranks.is_first:
                    held.close()
                outcomes = ranks.each((problem, len(proven), sum(proven)))
                problem = next((said for said, _, _ in outcomes if said), None)
                done = sum(each for _, each, _ in outcomes)
                ranks.from_first(lambda: run.end(problem, done, naming))
            return sum(each for _, _, each in outcomes)
        except KeyboardInterrupt as stop:
            number = stop.number if isinstance(stop, Stopped) else Stopped().number
            raise Stopped(number, run.left(len(proven), keep=bool(proven) or found)) from None


@dataclass(frozen=True, slots=True)
class _Run:
    """Where the form is written; ``directory`` is the final path as the user has it, and ``found`` says that the partial one
    was there.
    """

    directory: Path
    final: Path
    partial: Path
    found: bool
    form: Form

    def begin(self) -> str | None:
        """Make the partial folder, with what lies in it beside the tensors; what the system has against it, if anything."""
        try:
            if not self.found:
                self.partial.mkdir()
            self.form.begin(self.partial)
        except OSError as error:
            return problem_text(error)
        return None

    def end(self, problem: str | None, done: int, naming: AbstractContextManager[object]) -> None:
        """Give the files, of which so many are done, the final name; ``UsageError`` if there was a problem, or is one now."""
        if problem is not None:
            raise self._usage_error(problem, done, keep=self.found)
        try:
            self.form.end(self.partial)
            with naming:
                place.publish(self.partial, self.final)
        except OSError as error:
            raise self._usage_error(problem_text(error), done, keep=True) from None

    def left(self, done: int, keep: bool) -> str:
        """What a run that ends early leaves, in a few words: its partial folder, or nothing."""
        if done == self.form.count and not self.partial.exists():
            return "all files are in place"
        if keep and (self.form.keeps or done == self.form.count):
            return f"{done} of {self.form.count} files are in {shown(self.partial)}: --resume goes on with them"
        shutil.rmtree(self.partial, ignore_errors=True)
        return "what was written is removed"

    def _usage_error(self, problem: str, done: int, keep: bool) -> UsageError:
        return UsageError(f"--out: {shown(self.directory)}: {problem}; {self.left(done, keep)}")


def _started(directory: Path, form: Form, resume: bool, several: bool, held: ExitStack) -> tuple[Path, Path, bool]:
    """The final path, which is held from here on, the partial one, and whether that is there."""
    final = held.enter_context(place.reserved(directory, several))
    found = place.partial_of(final)
    if found and not resume:
        raise UsageError(
            f"--out: a partial checkpoint lies in {shown(found)}: --resume goes on with it, or else remove it"
        )
    if found:
        form.make_resumable(found)
    _check_space(final.parent, found, form.needed)
    return final, found or place.new_partial(final), found is not None


def _written(run: _Run, ranks: Ranks, advance: Callable[[int], object], proven: list[bool]) -> str | None:
    """Write this rank's files, and note of each whether it was there; what the system has against it, if anything."""
    try:
        proven.extend(run.form.write(run.partial, run.found, ranks, advance))
    except OSError as error:
        return problem_text(error)
    except Exception:
        if ranks.count == 1:  # others may be writing
            run.left(len(proven), keep=run.found)
        raise
    return None


def _check_space(parent: Path, partial: Path | None, needed: int) -> None:
    """Raise ``UsageError`` unless the disk has room for what the partial folder does not hold yet."""
    if partial:
        with os.scandir(partial) as entries:
            needed -= sum(entry.stat(follow_symlinks=False).st_blocks * 512 for entry in entries)
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise UsageError(f"--out: {size_text(needed)} are needed, and {size_text(free)} are free in {shown(parent)}")
