"""``--out``: a checkpoint is written instead of a model being held, a part at a time, by one process or by the ranks of many."""

import hashlib
import json
import os
import shlex
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.document import document_of
from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.forms import Form
from fastinit.checkpoint.hf import HuggingFace
from fastinit.checkpoint.ranks import ALONE, Ranks
from fastinit.checkpoint.writing import Begun, nobody_told, write
from fastinit.cli import progress
from fastinit.cli.source import contents_for
from fastinit.cli.splits import Dims, split_dims
from fastinit.model.presets import presets
from fastinit.model.roles import named_by
from fastinit.model.shown import shown, size_text

_SHARD_SIZE = 5 * 10**9  # bytes; as Hugging Face has it


def write_out(arguments: Namespace, ranks: Ranks = ALONE, begun: Begun = nobody_told) -> int:
    """Write what is asked for, and say so; ``begun`` is told the folder that it is written into."""
    ignored = [f"--{name}" for name in ("shards", "compare", "device") if getattr(arguments, name) not in (None, False)]
    ignored += [] if arguments.digest else ["--no-digest"]
    if ignored:
        raise UsageError(
            f"{', '.join(ignored)}: expected without --out, which fills files on the CPU and prints no digest"
        )
    contents = ranks.agreed(lambda: contents_for(arguments))
    if len(set(ranks.each(hashlib.sha256(json.dumps(document_of(contents)).encode()).hexdigest()))) > 1:
        raise UsageError("SOURCE: expected the same model on every rank")
    form = _form(arguments, contents, ranks)
    with progress.bar(contents.total_size // ranks.count, "writing", quiet=not ranks.is_first) as advance:
        proven = write(Path(arguments.out), form, advance, arguments.resume, ranks, begun)
    if not ranks.is_first:
        return 0
    if arguments.resume and form.keeps:
        print(f"{proven} of {form.count} files were there, and proved to be right")
    size = f"{contents.elements:,} elements, {size_text(contents.total_size)}"
    files = f"{form.count} file{'s' * (form.count != 1)}"
    print(f"{shown(arguments.out)}: {len(contents)} tensors of {shown(contents.source)}, {size}, in {files}")
    print(f"prove it at any time: fastinit verify {' '.join(map(_shell_word, _proof(arguments, contents)))}")
    return 0


def _proof(arguments: Namespace, contents: Contents) -> list[str]:
    """The arguments of ``verify``: with the source where the folder alone does not tell what no law describes."""
    words = [f"./{arguments.out}" if arguments.out.startswith("-") else arguments.out]  # no option
    told = contents.rules == "own" and "config.json" in contents.beside
    if told or all(entry.computed is None for entry in contents.entries.values()):
        return words
    asked = {"against": arguments.source}
    asked |= {name: vars(arguments)[name] for name in ("rules", "std", "recipe", "layers", "seed")}
    return words + [word for name, value in asked.items() if value is not None for word in (f"--{name}", str(value))]


def _form(arguments: Namespace, contents: Contents, ranks: Ranks) -> Form:
    split = arguments.tp * arguments.ep
    if arguments.format == "hf":
        if split > 1:
            raise UsageError("--tp, --ep: expected without --format hf, whose files have whole tensors")
        return HuggingFace(contents, arguments.shard_size or _SHARD_SIZE)
    if arguments.shard_size is not None:
        raise UsageError(f"--shard-size: expected with --format hf alone, got --format {arguments.format}")
    from fastinit.checkpoint.dcp import Distributed, Mesh, whole_boxes  # imports torch.distributed.checkpoint

    prefix = "model." if arguments.format == "olmo" else ""
    if ranks.count == 1:
        return Distributed(contents, prefix, whole_boxes)
    if ranks.count % split:
        raise UsageError(
            f"--tp, --ep: expected degrees whose product divides {ranks.count} ranks, got {arguments.tp} * {arguments.ep}"
        )
    mesh = Mesh((ranks.count // split, arguments.ep, arguments.tp), ranks.rank, _dims_of(arguments, contents))
    return Distributed(contents, prefix, mesh.boxes, ranks.count)


def _dims_of(arguments: Namespace, contents: Contents) -> Callable[[str], Dims]:
    """What expert and tensor parallelism split of each tensor, by its name."""
    known = presets().get(arguments.source)
    named = named_by(contents, set(), known.patterns if known else ())
    return lambda name: split_dims(named[name])


def _shell_word(path: str) -> str:
    """A path as a shell reads it again; what a terminal would obey is written in bash's way, by the bytes.

    >>> print(_shell_word("it's"), _shell_word("\\x1b[2J"))
    'it'"'"'s' $'\\x1b\\x5b\\x32\\x4a'
    """
    if path.isprintable():
        return shlex.quote(path)
    return "$'" + "".join(f"\\x{byte:02x}" for byte in os.fsencode(path)) + "'"
