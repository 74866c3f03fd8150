"""``python -m fastinit init SOURCE``: fill the weights of a model, every tensor by name, in memory or into files."""

import os
import shlex
from argparse import Namespace
from pathlib import Path

import torch.distributed as dist

from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.writing import write
from fastinit.cli import in_memory, progress
from fastinit.cli.source import contents_for
from fastinit.model.shown import shown, size_text


def run(arguments: Namespace) -> int:
    """Fill, and print what was done; 1 when a shard's bits are not those of the whole, else 0."""
    if dist.is_torchelastic_launched():
        from fastinit.cli import distributed  # imports torch.distributed.tensor

        return distributed.run(arguments)
    if arguments.tp * arguments.ep > 1:
        raise UsageError("--tp, --ep: expected several ranks, got one process: start them with torchrun")
    if arguments.out is not None:
        return _write(arguments)
    if arguments.resume:
        raise UsageError("--resume: expected --out, the checkpoint to go on with")
    return in_memory.fill(arguments)


def _write(arguments: Namespace) -> int:
    """Write a checkpoint instead of holding the model: a tensor at a time, so every layer is written by default."""
    ignored = [f"--{name}" for name in ("shards", "compare", "device") if getattr(arguments, name) not in (None, False)]
    ignored += [] if arguments.digest else ["--no-digest"]
    if ignored:
        raise UsageError(
            f"{', '.join(ignored)}: expected without --out, which fills files on the CPU and prints no digest"
        )
    contents = contents_for(arguments)
    with progress.bar(contents.total_size, "writing") as advance:
        count, proven = write(Path(arguments.out), contents, arguments.shard_size, advance, arguments.resume)
    if arguments.resume:
        print(f"{proven} of {count} files were there, and proved to be right")
    size = f"{contents.elements:,} elements, {size_text(contents.total_size)}"
    print(f"{shown(arguments.out)}: {len(contents)} tensors of {shown(contents.source)}, {size}, in {count} files")
    path = f"./{arguments.out}" if arguments.out.startswith("-") else arguments.out  # no option
    print(f"prove it at any time: fastinit verify {_shell_word(path)}")
    return 0


def _shell_word(path: str) -> str:
    """A path as a shell reads it again; what a terminal would obey is written in bash's way, by the bytes.

    >>> print(_shell_word("it's"), _shell_word("\\x1b[2J"))
    'it'"'"'s' $'\\x1b\\x5b\\x32\\x4a'
    """
    if path.isprintable():
        return shlex.quote(path)
    return "$'" + "".join(f"\\x{byte:02x}" for byte in os.fsencode(path)) + "'"
