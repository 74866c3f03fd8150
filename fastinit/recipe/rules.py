"""RecipeRules: what each parameter of a model gets by a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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

        Raises ``ValueError`` for names that the recipe has not, other shapes, and two parameters of one entry, with all names.
        """
        check_marks((part.found for part in parts if part.shard is None), self.rename is not None)
        known = {name: entry for entry in self.entries for name in (entry.name, *entry.tied)}
        rename = renamer(self.rename)
        found = [self._entry([rename(name) for name in part.found.names], part.global_shape, known) for part in parts]
        self._check(parts, found)
        return [_given(part, entry, self.seed) for part, entry in zip(parts, found, strict=True) if entry is not None]

    def _entry(self, names: list[str], shape: Shape, known: Mapping[str, Entry]) -> Entry | None:
        for name in names:
            if name in known:
                return known[name]
            alias = parts_of(name, self.fused)
            if alias is not None:
                parts = [known[part] for part in alias[1] if part in known]
                if len(parts) == len(alias[1]):
                    return fused_entry(name, shape, alias[0], tuple(parts))
        return None

    def _check(self, parts: Sequence[Part], found: Sequence[Entry | None]) -> None:
        missing = [part.name for part, entry in zip(parts, found, strict=True) if entry is None]
        if missing:
            raise ValueError(
                f"recipe: expected an entry for every parameter, found none for these {len(missing)}; rename= and aliases= "
                "map names, and the names begin at the model that was recorded:\n  " + "\n  ".join(map(shown, missing))
            )
        shapes = [
            f"{shown(part.name)} of {shape_text(part.global_shape)}, recorded as {shape_text(entry.shape)}"
            for part, entry in zip(parts, found, strict=True)
            if entry is not None and part.global_shape != entry.shape
        ]
        if shapes:
            raise ValueError(
                "recipe: expected parameters of the shapes that were recorded; shards= says where a plain tensor lies in a "
                "larger one:\n  " + "\n  ".join(shapes)
            )
        first: dict[str, str] = {}
        for part, entry in zip(parts, found, strict=True):
            if entry is not None and first.setdefault(entry.name, part.name) != part.name:
                names = f"{shown(first[entry.name])} and {shown(part.name)}"
                raise ValueError(f"recipe: expected an entry for each parameter, got {shown(entry.name)} for {names}")


def _given(part: Part, entry: Entry, seed: int) -> Given:
    content: Content | None = entry.computed
    if entry.tiles:
        own = whole(entry.name, entry.shape, entry.tiles[0])
        content = entry.tiles[0].law if own else Tiled(entry.tiles)
    key = None if part.name == entry.name else Key.of(entry.name, seed)
    return Given(entry.kind, content, entry.note, key)
