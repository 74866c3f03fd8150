"""Recipe: the laws of a model's parameters by name, as its framework sets them. It prints, compares, and is stored as JSON."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from fastinit.model.planned import Rules
from fastinit.model.report import shape_text, table
from fastinit.model.shown import shown
from fastinit.recipe.aliases import Aliases
from fastinit.recipe.entries import Entry
from fastinit.recipe.names import Rename
from fastinit.recipe.rules import RecipeRules
from fastinit.recipe.stored import entry_from, entry_json
from fastinit.shard.geometry import LocalShard
from fastinit.version import STREAM_VERSION

_FORMAT = 1
_HEADER = ("parameter", "kind", "law", "shape", "note")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a framework's own initialisation does to each parameter of a model. :func:`fastinit.record` makes one.

    >>> recipe = fastinit.record(lambda: torch.nn.Linear(8, 4))
    >>> recipe["bias"].text()
    'uniform in [-0.353553, 0.353553]'
    >>> recipe.kinds()
    {'law': 2}

    ``root`` is the class of the model that the names are from, ``init`` what was run, and ``random`` the operators that drew
    numbers from torch's generators, for something else than parameters, with how often.
    """

    root: str
    init: str
    entries: tuple[Entry, ...]
    random: tuple[tuple[str, int], ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __getitem__(self, name: str) -> Entry:
        """The entry of a parameter, by any of its names. Raises ``KeyError`` for a name that is not there."""
        for entry in self.entries:
            if name == entry.name or name in entry.tied:
                return entry
        raise KeyError(name)

    def kinds(self) -> dict[str, int]:
        """How many parameters there are of each kind: law, constant, laws by box, shared, derived, kept.

        >>> fastinit.record(lambda: torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.LayerNorm(4))).kinds()
        {'law': 2, 'constant': 2}
        """
        return dict(Counter(entry.kind for entry in self.entries))

    def __str__(self) -> str:
        rows = [(shown(e.name), e.kind, e.text(), shape_text(e.shape), e.note) for e in self.entries]
        counts = ", ".join(f"{number} {kind}" for kind, number in self.kinds().items())
        first = f"{shown(self.root)} by {shown(self.init)}: {len(self)} parameters, {counts or 'none'}"
        others = [f"{shown(name)} drew {times} times from torch's generators" for name, times in self.random]
        return "\n".join([first, table(_HEADER, rows), *others])

    def diff(self, other: "Recipe") -> "Difference":
        """What another recipe says otherwise. It is false when nothing differs, and prints a line a parameter.

        >>> recipe = fastinit.record(lambda: torch.nn.Linear(8, 4))
        >>> print(recipe.diff(fastinit.record(lambda: torch.nn.Linear(16, 4))))
        weight: shape 4x8, not 4x16
        weight: uniform in [-0.353553, 0.353553], not uniform in [-0.25, 0.25]
        bias: uniform in [-0.353553, 0.353553], not uniform in [-0.25, 0.25]
        """
        ours, theirs = ({entry.name: entry for entry in recipe.entries} for recipe in (self, other))
        lines = []
        for name in dict.fromkeys((*ours, *theirs)):
            if name not in theirs or name not in ours:
                lines.append(f"{shown(name)}: {'not in the other' if name in ours else 'only in the other'}")
                continue
            one, two = ours[name], theirs[name]
            if one.shape != two.shape:
                lines.append(f"{shown(name)}: shape {shape_text(one.shape)}, not {shape_text(two.shape)}")
            if one.tied != two.tied:
                lines.append(f"{shown(name)}: tied to {list(one.tied)}, not {list(two.tied)}")
            if not _alike(one, two):
                words, others = _words(one), _words(two)
                otherwise = f"not {others}" if words != others else "computed otherwise"
                lines.append(f"{shown(name)}: {words}, {otherwise}")
        return Difference(tuple(lines))

    def rules(
        self,
        seed: int,
        shards: Mapping[str, LocalShard] | None = None,
        rename: Rename = None,
        aliases: Aliases | None = None,
    ) -> Rules:
        """What a plan of a model is made by; init_model_ and verify_model_ ask for it.

        >>> rules = fastinit.record(lambda: torch.nn.Linear(8, 4)).rules(seed=0)
        """
        return RecipeRules(self.init, self.entries, seed, shards, rename, aliases or {})

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as JSON.

        >>> fastinit.record(lambda: torch.nn.Linear(8, 4)).save("linear.json")

        Raises ``ValueError``, with their names, where parameters are computed: those are no data.
        """
        computed = [entry.name for entry in self.entries if entry.computed is not None]
        if computed:
            raise ValueError(
                "recipe: expected laws to store, got parameters that are computed by torch's operators; record the recipe "
                f"where it is used: {', '.join(map(shown, computed))}"
            )
        content = {
            "fastinit_recipe": _FORMAT,
            "stream_version": STREAM_VERSION,
            "root": self.root,
            "init": self.init,
            "random": self.random,
        }
        rows = [entry_json(entry) for entry in self.entries]
        Path(path).write_text(json.dumps({**content, "parameters": rows}, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Recipe":
        """Read what save() wrote.

        >>> recipe = fastinit.record(lambda: torch.nn.Linear(8, 4))
        >>> recipe.save("linear.json")
        >>> fastinit.Recipe.load("linear.json") == recipe
        True

        Raises ``ValueError`` for a file that holds something else.
        """
        try:
            content = json.loads(Path(path).read_text("utf-8"))
            if content["fastinit_recipe"] != _FORMAT or content["stream_version"] != STREAM_VERSION:
                raise ValueError(f"expected format {_FORMAT} of stream version {STREAM_VERSION}")
            entries = tuple(entry_from(row) for row in content["parameters"])
            random = tuple((str(name), int(times)) for name, times in content.get("random", ()))
            return cls(str(content["root"]), str(content["init"]), entries, random)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(f"path: expected a recipe, got {shown(path)}: {type(error).__name__}: {error}") from None


@dataclass(frozen=True, slots=True)
class Difference:
    """What two recipes say otherwise; true when there is something."""

    lines: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.lines)

    def __str__(self) -> str:
        return "\n".join(self.lines) or "the same laws"


def _alike(one: Entry, two: Entry) -> bool:
    """Whether their values depend on the same, but for the shape of what follows one law."""
    first, second = ([(tile.law, tile.source, tile.shard.global_offset) for tile in e.tiles] for e in (one, two))
    return one.content == two.content or (len(first) == 1 and first == second)


def _words(entry: Entry) -> str:
    return f"{entry.text()}{f' ({entry.whence})' if entry.whence else ''}"
