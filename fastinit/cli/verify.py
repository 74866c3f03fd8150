"""``python -m fastinit verify DIR``: is a checkpoint what its metadata says, or what a source gives, bit for bit?"""

from argparse import Namespace
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.distributed as dist

from fastinit.checkpoint.compared import DERIVED, Compared, compared
from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.document import summary
from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.opened import LOOSE, Opened, named_as, opened, somebody_s
from fastinit.checkpoint.parts import Sample
from fastinit.checkpoint.ranks import ALONE, Ranks
from fastinit.cli import progress
from fastinit.cli.sampled import sample_of
from fastinit.cli.source import contents_for
from fastinit.model.report import table
from fastinit.model.roles import Role, role_of
from fastinit.model.shown import shown

_ROLES = {role.value for role in Role}


def run(arguments: Namespace) -> int:
    """Regenerate each tensor in parts and compare; 1 when anything is not as it was written, or as its source has it, else 0."""
    option: Any = vars(arguments).get
    from_source = [name for name in ("rules", "std", "seed", "recipe", "layers") if option(name) is not None]
    against = option("against") is not None or option("recipe") is not None
    if from_source and not against:
        raise UsageError(f"--{from_source[0]}: expected --against SOURCE, as a checkpoint's own metadata say it")
    what = _against if against else _by_itself
    if dist.is_torchelastic_launched():
        from fastinit.cli.distributed import together  # imports torch.distributed.tensor

        return together("verify", 60, lambda ranks, watch: what(arguments, ranks))
    return what(arguments, ALONE)


def _by_itself(arguments: Namespace, ranks: Ranks) -> int:
    directory = Path(arguments.directory)
    found = ranks.agreed(lambda: opened(directory))
    assert found.contents is not None
    contents = _with_derived(found.contents, found, directory)
    sample = ranks.from_first(lambda: sample_of(arguments))
    problems = list(found.problems())
    wrong = {name for name, _ in problems}
    lost: dict[str, list[str]] = getattr(found.reader, "lost", dict)()
    wrong.update(*lost.values())  # it is told of the file, once
    tensors = _compare(found, contents, [name for name in contents if name not in wrong], sample, ranks)
    if not ranks.is_first:
        return 0  # the first one has the word
    problems += [(each.name, each.text) for each in tensors if each.text]
    for name, problem in problems:
        print(f"{shown(name)}: {problem}")
    given = summary(contents)
    undecided = sum(each.problem == DERIVED for each in tensors)
    if 0 < undecided == len(problems):
        print(
            f"{undecided} of {len(contents)} tensors are not proved; nothing else is wrong with the checkpoint of {given}"
        )
        return 1
    if problems:
        print(
            f"{len(problems)} {'problem' if len(problems) == 1 else 'problems'}: this is not the checkpoint of {given}"
        )
        return 1
    if found.kind == LOOSE:
        print("there is no index: nothing says which other files there should be")
    elements = sum(each.elements for each in tensors)
    if sample is not None:
        print(
            f"sampled, {_words(sample)}: the bits of {elements:,} elements in {len(contents)} tensors are those of {given}"
        )
        return 0
    print(f"all bits of {elements:,} elements in {len(contents)} tensors are those of {given}")
    return 0


def _against(arguments: Namespace, ranks: Ranks) -> int:
    directory = Path(arguments.directory)
    found = ranks.agreed(lambda: somebody_s(directory))
    asked = Namespace(**{**vars(arguments), "source": arguments.against, "format": found.form, "dtype": None})
    contents = ranks.agreed(lambda: contents_for(asked))
    found = ranks.agreed(lambda: named_as(found, directory, contents))
    sample = ranks.from_first(lambda: sample_of(arguments))
    present = [name for name in contents if name in found.reader]
    tensors = {each.name: each for each in _compare(found, contents, present, sample, ranks)}
    if not ranks.is_first:
        return 0
    for name in contents:
        if name not in tensors:
            tensors[name] = Compared(name, problem="is missing")
    for name in found.reader:
        if name not in tensors:
            tensors[name] = Compared(name, problem="is no tensor of the source")
    others: list[str] = getattr(found.reader, "others", [])
    for each in tensors.values():
        if each.text:
            count = f"{each.differing:,} of {each.elements:,} elements differ, the first at index {each.first}"
            print(f"{shown(each.name)}: {each.problem or count}")
    print(_by_role(tensors.values()))
    if others:
        print(f"{len(others)} values that are no tensors, or none of the model, were not compared")
    changed = sum(bool(each.text) for each in tensors.values())
    given = summary(contents)
    start = f"sampled, {_words(sample)}: " if sample is not None else ""
    if changed:
        print(f"{start}{changed} of {len(tensors)} tensors are not at the init of {given}")
        return 1
    print(f"{start}{len(tensors)} tensors are at their init, bit for bit: {given}")
    return 0


def _compare(
    found: Opened, contents: Contents, names: list[str], sample: Sample | None, ranks: Ranks
) -> list[Compared]:
    """What each rank has found of its tensors, in the order of the names; everyone's on the first rank."""
    sizes = {name: contents.size(name) for name in names}
    mine = ranks.mine(sizes)
    done = []
    with progress.bar(sum(sizes[name] for name in mine), "verifying", quiet=not ranks.is_first) as advance:
        for name in mine:
            done.append(compared(found.reader, name, contents, sample))
            advance(sizes[name])
    everyone_s = {each.name: each for given in ranks.each(done) for each in given}
    return [everyone_s[name] for name in names]


def _with_derived(contents: Contents, found: Opened, directory: Path) -> Contents:
    """The same with what no law describes computed again, where the folder has the config of transformers that it follows from."""
    names = [name for name, entry in contents.entries.items() if not entry.tiles]
    if not names or contents.rules != "own" or not (directory / "config.json").is_file():
        return contents
    try:
        again = contents_for(Namespace(source=str(directory.resolve()), format=found.form, seed=contents.seed))
    except UsageError:
        return contents  # then it is told of each that it is derived
    entries = {
        name: again.entries[name]
        for name in names
        if name in again.entries
        and again.entries[name].computed is not None
        and again.shape(name) == contents.shape(name)
    }
    return replace(contents, entries={**contents.entries, **entries})


def _by_role(tensors: Iterable[Compared]) -> str:
    """A table of how many tensors of each role are at their init."""
    found: dict[str, list[int]] = {}
    for each in tensors:
        row = found.setdefault(role_of(each.name), [0, 0, 0, 0, 0])
        for k, count in enumerate((1, not each.text, bool(each.text), each.elements, each.differing)):
            row[k] += count
    header = ["role", "tensors", "at init", "changed", "elements", "differing"]
    return table(
        header,
        [[role if role in _ROLES else shown(role), *(f"{n:,}" for n in row)] for role, row in found.items()],
        numbers=header[1:],
    )


def _words(sample: Sample) -> str:
    return f"{sample.count} random parts of each tensor (seed {sample.seed})"
