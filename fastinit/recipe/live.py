"""Live: a tape that runs while a model is initialised, and the rules that come of it."""

from collections.abc import Sequence
from gc import collect
from operator import add

from torch import Tensor, nn

from fastinit.model.planned import Given, Part, Planned
from fastinit.model.roles import matches
from fastinit.model.shown import shown
from fastinit.model.tiles import Content, Tile, Tiled
from fastinit.recipe.bind import Parameter, bind
from fastinit.recipe.entries import Entry, whole
from fastinit.recipe.history import earlier_fills
from fastinit.recipe.known import Known
from fastinit.recipe.marks import check_marks
from fastinit.recipe.record import check
from fastinit.recipe.single import Single, singles
from fastinit.recipe.tape import Tape
from fastinit.recipe.values import Drawn, Leaf, Read
from fastinit.shard import dtensor
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key


class Live:
    """What keyed() and build() have: a tape whose draws are filled at once, and rules for the plan in the end."""

    method = "own"
    shards = None

    def __init__(self, known: Known, strict: bool = False, kept: tuple[str, ...] = ()) -> None:
        self.seed = known.seed
        self.tape = Tape(known.fill, known.find)
        self._known = known
        self._strict = strict
        self._kept = kept
        self._drawn: dict[int, Leaf] = {}  # by the identity of a parameter: all that it holds

    def given(self, model: nn.Module, parts: Sequence[Part]) -> list[Given]:
        """What each parameter was last filled with."""
        check_marks((part.found for part in parts if part.shard is None), self._known.renames)
        alone = self._alone(parts)
        rest = [part for part, single in zip(parts, alone, strict=True) if single is None]
        given = iter(self._taken_apart(rest))
        again = self.tape.storages.any_overwritten
        return [
            next(given)
            if single is None
            else Given("constant" if single.leaf is None else "law", single.law, self._after(part) if again else "")
            for part, single in zip(parts, alone, strict=True)
        ]

    def _after(self, part: Part) -> str:
        """What a parameter was filled with before, in words."""
        state, view = self.tape.storages.state_of(part.parameter)
        before = self.tape.storages.overwritten(part.parameter)
        earlier = earlier_fills(before, Read(state, view)) if before and state is not None else ()
        return f"after {', then '.join(earlier)}" if earlier else ""

    def _alone(self, parts: Sequence[Part]) -> list[Single | None]:
        """The parameters that need not be bound to names. New names, and numbers held by another model, want a look at all."""
        if self._known.renames or self._elsewhere(parts):
            return [None] * len(parts)
        found = singles((part.parameter for part in parts), self.tape.storages)
        self._drawn = {
            id(part.parameter): single.leaf
            for part, single in zip(parts, found, strict=True)
            if single is not None and single.leaf is not None
        }
        return found

    def _taken_apart(self, parts: Sequence[Part]) -> list[Given]:
        """What is given to parameters that may be of several parts, and may share their numbers."""
        parameters = [Parameter(self._known.names(part.found), part.parameter) for part in parts]
        bound = bind(parameters, self.tape.storages, live=True, elsewhere=self._elsewhere(parts))
        if bound.lost:
            collect()  # a module with a cycle may still be there
            bound = bind(parameters, self.tape.storages, live=True, elsewhere=self._elsewhere(parts))
        by_name = dict(zip((parameter.names[0] for parameter in parameters), parts, strict=True))
        left = {name: self._why_left(by_name[name].parameter, name) for name in bound.unwritten}
        check(bound, [name for name, why in left.items() if why], "the initialisation", self._strict)
        entries = {entry.name: entry for entry in bound.entries}
        return [
            self._given(part, entries.get(name), left.get(name, ""), name in bound.foreign)
            for name, part in by_name.items()
        ]

    def _elsewhere(self, parts: Sequence[Part]) -> set[Leaf]:
        return self.tape.held_elsewhere(part.parameter for part in parts)

    def _why_left(self, parameter: Tensor, name: str) -> str:
        """What a report calls a parameter that nothing wrote; nothing for one that something should have written."""
        if parameter.is_meta:
            return ""
        if any(matches(pattern, name) for pattern in self._kept):
            return "kept"
        made_within = self.tape.storages.state_of(parameter)[0] is not None and not dtensor.is_dtensor(parameter)
        loaded = getattr(parameter, "_is_hf_initialized", False) or not parameter.requires_grad
        return "loaded" if loaded and not made_within else ""

    def has_filled(self, planned: Planned) -> bool:
        """Whether a parameter has its final values already: they were drawn into it, and nothing was done to it since."""
        leaf = self._drawn.get(id(planned.parameter))
        if leaf is not None:
            return self._known.key_of(leaf) == planned.key
        state, view = self.tape.storages.state_of(planned.parameter)
        if state is None or state.before is not None or state.view != view or not isinstance(state.value, Drawn):
            return False
        drawn = state.value
        return (
            planned.law == drawn.law == drawn.leaf.law  # and not another's values
            and drawn.view is None
            and self._known.key_of(drawn.leaf) == planned.key
        )

    def _given(self, part: Part, entry: Entry | None, left: str, foreign: bool) -> Given:
        if entry is None:
            return Given(left, None)
        if entry.settled:
            return Given("filled", None, "by fastinit, with a key of its own")
        if entry.computed is not None:
            if foreign and not entry.computed.sources and not dtensor.is_dtensor(part.parameter):
                return Given("foreign", None, "copied from a tensor of elsewhere")
            if part.shard is not None:
                raise ValueError(
                    f"{shown(part.name)}: expected values that follow laws, got some that are computed from a shard alone"
                )
            return Given(entry.kind, entry.computed, entry.note)
        content: Content = entry.tiles[0].law
        if not whole(entry.name, entry.shape, entry.tiles[0]):
            content = Tiled(tuple(_global(tile, entry, part.shard) for tile in entry.tiles))
        key = None if part.name == entry.name else Key.of(entry.name, self.seed)
        return Given(entry.kind, content, entry.note, key)


def _global(tile: Tile, entry: Entry, shard: LocalShard | None) -> Tile:
    """A tile of a plain tensor that is a shard, in the logical tensor."""
    if shard is None:
        return tile
    offset = tuple(map(add, tile.offset, shard.global_offset))
    if tile.source != entry.name:
        raise ValueError(f"{shown(entry.name)}: expected numbers of its own in a shard, got those of {tile.source}")
    return Tile(offset, tile.shape, tile.law, tile.source, LocalShard(shard.global_shape, offset))
