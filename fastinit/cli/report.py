"""``python -m fastinit report DIR -o report.html``: every tensor of a checkpoint beside its law, as a page to look at."""

import os
import secrets
from argparse import Namespace
from pathlib import Path

import torch.distributed as dist

from fastinit.checkpoint.document import summary
from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.opened import opened
from fastinit.checkpoint.survey import survey
from fastinit.cli import progress
from fastinit.cli.described import Description, chance
from fastinit.cli.digest import digest_of_lines
from fastinit.cli.rendered import page
from fastinit.cli.sampled import sample_of
from fastinit.model.shown import shown
from fastinit.version import STREAM_VERSION, __version__

_UNLIKELY = 0.01


def run(arguments: Namespace) -> int:
    """Look at every tensor, and write the page; 0, whatever is found, as ``verify`` is what tells right from wrong."""
    if os.environ.get("RANK", "0") != "0" and dist.is_torchelastic_launched():
        return 0  # the first rank writes the page
    directory, output = Path(arguments.directory), Path(arguments.output)
    _check_output(output)
    found = opened(directory)
    contents = found.contents
    assert contents is not None, "what is opened says what it holds"
    sample = sample_of(arguments)
    description, digests = Description(), {}
    total = sum(found.size(name) for name in found.reader)
    try:
        with progress.bar(total, "looking") as advance:
            for seen in survey(found.reader, contents, sample, advance):
                description.add(seen)
                if seen.digest is not None:
                    digests[seen.name] = seen.digest
    except ValueError as error:
        raise UsageError(f"{shown(directory)}: {error}") from None
    digest = digest_of_lines(digests) if sample is None else None
    asked = summary(contents)
    if sample is not None:
        asked += f"; sampled: {sample.count} random parts of each tensor, seed {sample.seed}"
    missing = len(set(contents) - set(found.reader))
    verdict, odd = _verdict(description, missing)
    data = description.data() | {
        "asked": f"{found.kind}: {asked}",
        "made": f"Made by fastinit {__version__}. All data are in this file; it loads nothing.",
        "seed": str(contents.seed),  # of 64 bits, which JavaScript has not
        "streamVersion": STREAM_VERSION,
        "digest": digest,
        "verdict": verdict,
        "odd": odd,
    }
    _write(output, page(directory.resolve().name, data))
    print(verdict)
    if digest is not None:
        print(f"digest: sha256 {digest} over the bits of {len(digests)} tensors")
    print(
        f"{shown(arguments.output)}: {len(data['tensors'].get('name', ()))} tensors, {description.elements:,} elements"
    )
    return 0


def _verdict(description: Description, missing: int) -> tuple[str, bool]:
    """What is to be said of all tensors, and whether it is anything but good."""
    trouble = [
        f"{count:,} {what}"
        for count, what in (
            (missing, "of the tensors that its recipe names are missing"),
            (description.not_finite, "elements are not finite"),
            (description.outside, "elements are none that their laws have"),
        )
        if count
    ]
    z, what, name = description.farthest
    scores = len(description.scores)
    if not scores:
        text = "There are too few random elements to compare statistics with laws."
        return "; ".join([*trouble, text]), bool(trouble)
    likely = chance(z, scores)
    odd = likely < _UNLIKELY
    start = "Not all tensors look like their laws" if odd else "Every tensor looks like its law"
    often = f"{100 * likely:.0f} %" if likely >= _UNLIKELY else f"{100 * likely:.1g} %"
    text = (
        f"{start}: the farthest of {scores:,} z-scores is {z:+.2f} (the {what} of {shown(name)}), "
        f"and in {often} of checkpoints with all tensors right one is as far."
    )
    return "; ".join([*trouble, text]), odd or bool(trouble)


def _check_output(path: Path) -> None:
    """Raise ``UsageError`` for what no page can be written to, before hours of reading."""
    if path.is_dir():
        raise UsageError(f"--output: expected a file, got the folder {shown(path)}")
    if not path.parent.is_dir():
        raise UsageError(f"--output: expected a file in a folder that exists, got {shown(path)}")


def _write(path: Path, text: str) -> None:
    """Write a file that is whole from the moment it has its name."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        beside.write_text(text, "utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
