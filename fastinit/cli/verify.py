"""``python -m fastinit verify DIR``: is a checkpoint what its metadata says, bit for bit?"""

from argparse import Namespace
from pathlib import Path

from fastinit.checkpoint.document import contents_from, summary
from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.index import INDEX, read_index
from fastinit.checkpoint.proof import folder_problems
from fastinit.cli import progress
from fastinit.model.shown import shown


def run(arguments: Namespace) -> int:
    """Regenerate each tensor in parts and compare; 1 when anything in the folder is not as it was written, else 0."""
    directory = Path(arguments.directory)
    index = read_index(directory / INDEX)
    try:
        contents = contents_from(index.document)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{shown(directory)}: expected the metadata of fastinit init: {error}") from None
    count = 0
    with progress.bar(contents.total_size, "verifying") as advance:
        for name, problem in folder_problems(directory, index, contents, advance):
            print(f"{shown(name)}: {problem}")
            count += 1
    given = summary(contents)
    if count:
        print(f"{count} {'problem' if count == 1 else 'problems'}: this is not the checkpoint of {given}")
        return 1
    print(f"all bits of {contents.elements:,} elements in {len(contents)} tensors are those of {given}")
    return 0
