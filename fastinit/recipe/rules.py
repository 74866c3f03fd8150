"""RecipeRules: what each parameter of a model gets by a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import nn

from fastinit.model.planned import Given, Part
from fastinit.model.report import shape_text
from fastinit.model.shown import shown
from fastinit.model.tiles import Content, Tiled
from fastinit.recipe.aliases import Aliases, Fused, checked, fused_entry, parts_of
from fastinit.recipe.entries import Entry, whole
from fastinit.recipe.marks import check_marks
from fastinit.recipe.names import Rename, renamer
from fastinit.shard.geometry import LocalShard, Shape
from fastinit.stream import Key


class _Match(NamedTuple):
    """The name, after a rename, under which a recipe has an entry for a parameter."""

    name: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class RecipeRules:
    """The entries of a recipe, and how the names of a model lead to them."""

    method: str
    entries: tuple[Entry, ...]
    seed: int = 0
    shards: Mapping[str, LocalShard] | None = None
    rename: Rename = None
    aliases: Aliases = field(default_factory=dict)
    fused: Mapping[str, Fused] = field(init=False, repr=False)  # the aliases, each in full

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", Key(self.seed).seed)
        object.__setattr__(self, "fused", checked(self.aliases))

    def given(self, model: nn.Module, parts: Sequence[Part]) -> list[Given]:
        """The entry of each parameter's name, of which its shape must be that.

        Raises ``ValueError`` for names that the recipe has not, other shapes, two parameters of one name, and one parameter of two
        entries, with all names.
        """
        check_marks((part.found for part in parts if part.shard is None), self.rename is not None)
        known = {name: entry for entry in self.entries for name in (entry.name, *entry.tied)}
        rename = renamer(self.rename)
        found = [self._match([rename(name) for name in part.found.names], part.global_shape, known) for part in parts]
        _check(parts, found)
        return [_given(part, match, self.seed) for part, match in zip(parts, found, strict=True) if match is not None]

    def _match(self, names: list[str], shape: Shape, known: Mapping[str, Entry]) -> _Match | None:
        """The entry of a parameter by any of its names; None where the recipe has none of them."""
        matches = []
        for name in names:
            alias = parts_of(name, self.fused)
            if alias is not None and name in known:
                raise ValueError(
                    f"aliases: expected names that the recipe does not have, got {shown(name)}, which it has"
                )
            if name in known:
                matches.append(_Match(name, known[name]))
            elif alias is not None and all(part in known for part in alias[1]):
                parts = tuple(known[part] for part in alias[1])
                matches.append(_Match(name, fused_entry(name, shape, alias[0], parts)))
        for other in matches[1:]:
            if matches[0].entry.content != other.entry.content:
                raise ValueError(
                    "recipe: expected one entry for a parameter whatever its name, got two that differ for "
                    f"{shown(matches[0].name)} and {shown(other.name)}, which the model ties and the recipe does not"
                )
        return matches[0] if matches else None


def _check(parts: Sequence[Part], found: Sequence[_Match | None]) -> None:
    missing = [part.name for part, match in zip(parts, found, strict=True) if match is None]
    if missing:
        raise ValueError(
            f"recipe: expected an entry for every parameter, found none for these {len(missing)}; rename= and aliases= "
            "map names, and the names begin at the model that was recorded:\n  " + "\n  ".join(map(shown, missing))
        )
    shapes = [
        f"{shown(part.name)} of {shape_text(part.global_shape)}, recorded as {shape_text(match.entry.shape)}"
        for part, match in zip(parts, found, strict=True)
        if match is not None and part.global_shape != match.entry.shape
    ]
    if shapes:
        raise ValueError(
            "recipe: expected parameters of the shapes that were recorded; shards= says where a plain tensor lies in a "
            "larger one:\n  " + "\n  ".join(shapes)
        )
    first: dict[str, str] = {}
    for part, match in zip(parts, found, strict=True):
        if match is not None and first.setdefault(match.name, part.name) != part.name:
            names = f"{shown(first[match.name])} and {shown(part.name)}"
            raise ValueError(f"recipe: expected an entry for each parameter, got {shown(match.name)} for {names}")


def _given(part: Part, match: _Match, seed: int) -> Given:
    """What the entry says. A parameter under a name that the recipe has tied to another has that one's values."""
    entry = match.entry
    content: Content | None = entry.computed
    if entry.tiles:
        own = whole(entry.name, entry.shape, entry.tiles[0])
        content = entry.tiles[0].law if own else Tiled(entry.tiles)
    key = None if part.name == entry.name else Key.of(entry.name, seed)
    if match.name != entry.name and entry.sources:
        return Given("shared", content, f"shares {entry.name}'s values", key)
    return Given(entry.kind, content, entry.note, key)
