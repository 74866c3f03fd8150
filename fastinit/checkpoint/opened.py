"""A checkpoint of whatever form, opened: what its metadata say, and a reader of what its files hold, whoever wrote them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.document import DOCUMENT, contents_from
from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.files import JSON_LIMIT, open_regular, parse_json, problem_text
from fastinit.checkpoint.index import INDEX, UNFINISHED, read_index, weight_map
from fastinit.checkpoint.live import Format
from fastinit.checkpoint.proof import Problem, indexed_problems, loose_problems, stored_problems
from fastinit.checkpoint.reading import Reader, Safetensors
from fastinit.checkpoint.shard_file import Header
from fastinit.model.shown import shown

LOOSE = "safetensors without an index"
_PREFIXES = ("", "model.")  # before the names in torch's metadata


@dataclass(frozen=True, slots=True)
class Opened:
    """A folder's tensors, and what its metadata say that they are: no ``contents`` where somebody else wrote it.

    ``problems`` finds all that is wrong with it but for bits; ``form`` says for which users its names are.
    """

    form: Format
    kind: str
    reader: Reader
    contents: Contents | None
    problems: Callable[[], Iterable[Problem]]

    def size(self, name: str) -> int:
        """Bytes of a tensor, none where that cannot be read."""
        try:
            return prod(self.reader.shape(name)) * self.reader.dtype(name).itemsize
        except (OSError, ValueError):
            return 0


def opened(directory: Path) -> Opened:
    """A checkpoint that says what it holds. Raises ``UsageError`` for a folder with none, or with metadata that are not ours."""

    def found() -> Opened:
        if (directory / DOCUMENT).exists() and not _is_there(directory / INDEX):
            return _distributed(directory)
        if not any(_is_there(directory / name) for name in (INDEX, UNFINISHED)) and any(
            path.suffix == ".safetensors" for path in directory.iterdir()
        ):
            return _loose(directory)
        index = read_index(directory / INDEX)
        contents, reader = contents_from(index.document), Safetensors.of(directory, index.files)
        return Opened("hf", "safetensors", reader, contents, lambda: indexed_problems(index, contents, reader))

    return _or_usage_error(directory, found)


def somebody_s(directory: Path) -> Opened:
    """A checkpoint that anybody wrote, whatever its metadata say of its values; names may have a prefix yet."""

    def found() -> Opened:
        if not _is_there(directory / INDEX) and (directory / ".metadata").exists():
            return _of_torch(directory, "")
        if _is_there(directory / INDEX):
            reader = Safetensors.of(directory, weight_map(directory / INDEX))
        else:
            reader = Safetensors.all_in(directory)
        if not tuple(reader):
            raise ValueError("no safetensors, and no .metadata of torch.distributed.checkpoint")
        return Opened("hf", "safetensors", reader, None, tuple)

    return _or_usage_error(directory, found)


def named_as(found: Opened, directory: Path, names: Iterable[str]) -> Opened:
    """The same, by these names if its own have a prefix before them."""
    wanted = set(names)
    if found.form == "hf" or not wanted:
        return found
    return max((_of_torch(directory, prefix) for prefix in _PREFIXES), key=lambda each: len(wanted & set(each.reader)))


def _loose(directory: Path) -> Opened:
    reader = Safetensors.all_in(directory)
    each: list[Contents] = []
    for file, header in reader.headers.items():
        assert isinstance(header, Header)
        text = header.metadata.get("fastinit")
        if not isinstance(text, str):
            raise ValueError(
                f"{shown(file)}: its header has no recipe of fastinit: verify --against SOURCE compares it with one"
            )
        each.append(contents_from(parse_json(text.encode())))
    contents = _joined(each)
    return Opened("hf", LOOSE, reader, contents, lambda: loose_problems(contents, reader))


def _joined(each: Sequence[Contents]) -> Contents:
    """What files hold together, that are of one checkpoint."""
    first = each[0]
    if len({(contents.source, contents.rules, contents.seed) for contents in each}) > 1:
        raise ValueError("expected files of one checkpoint, got headers with several sources, rules or seeds")
    entries = {name: entry for contents in each for name, entry in contents.entries.items()}
    if len(entries) < sum(map(len, each)):
        raise ValueError("expected files of one checkpoint, got headers that name a tensor twice")
    return replace(
        first, entries=entries, dtypes={name: dtype for contents in each for name, dtype in contents.dtypes.items()}
    )


def _distributed(directory: Path) -> Opened:
    with open_regular(directory / DOCUMENT) as file:
        text = file.read(JSON_LIMIT + 1)
    if len(text) > JSON_LIMIT:
        raise ValueError(f"{DOCUMENT}: it is longer than {JSON_LIMIT:,} bytes")
    document: Any = parse_json(text)
    contents = contents_from(document)
    found = named_as(_of_torch(directory, ""), directory, contents)
    reader: Any = found.reader

    def problems() -> Iterator[Problem]:
        for file, names in reader.lost().items():
            yield file, f"is missing, and {len(names)} tensor{'s' * (len(names) != 1)} of the checkpoint with it"
        files = {DOCUMENT, ".metadata", *reader.files}
        yield from stored_problems(contents, reader, directory, files, document["beside"], reader.others)

    return replace(found, contents=contents, problems=problems)


def _of_torch(directory: Path, prefix: str) -> Opened:
    from fastinit.checkpoint.reading_dcp import Distributed  # imports torch.distributed.checkpoint

    kind = "torch.distributed.checkpoint" + (f", names with {prefix}" if prefix else "")
    return Opened("dcp", kind, Distributed.of(directory, prefix), None, tuple)


def _is_there(path: Path) -> bool:
    """Whether there is anything of that name, were it a link to nowhere."""
    return path.is_symlink() or path.exists()


def _or_usage_error(directory: Path, found: Callable[[], Opened]) -> Opened:
    try:
        return found()
    except (OSError, ValueError, TypeError) as error:
        reason = problem_text(error) if isinstance(error, OSError) else error
        raise UsageError(f"{shown(directory)}: expected a checkpoint: {reason}") from None
