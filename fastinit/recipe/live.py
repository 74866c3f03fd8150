"""Live: a tape that runs while a model is initialised, and the rules that come of it."""

from collections.abc import Sequence
from gc import collect
from operator import add

from torch import Tensor, nn

from fastinit.init import fill_
from fastinit.model.planned import Given, Part, Planned
from fastinit.model.roles import matches
from fastinit.model.shown import shown
from fastinit.model.tiles import Content, Tile, Tiled
from fastinit.model.walk import experts_shard, parameters_of, tied
from fastinit.recipe.bind import Bound, Parameter, bind
from fastinit.recipe.entries import Entry, whole
from fastinit.recipe.marks import check_marks
from fastinit.recipe.names import Rename, renamer
from fastinit.recipe.record import check
from fastinit.recipe.tape import Tape
from fastinit.recipe.values import Drawn, Leaf
from fastinit.shard import dtensor
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key


class Live:
    """What keyed() and build() have: a tape whose draws are filled at once, and rules for the plan in the end.

    A parameter whose name is known gets its final values when they are drawn. All else gets values of a stream of its own, so
    that what reads them finds numbers of the law, and the parameter its final values in the end.
    """

    method = "own"
    shards = None

    def __init__(self, model: nn.Module | None, seed: int, strict: bool, kept: tuple[str, ...], rename: Rename) -> None:
        self.seed = Key(seed).seed
        self.tape = Tape(self._fill, self._knows)
        self._model = model
        self._strict = strict
        self._kept = kept
        self._rename = renamer(rename)
        self._keeps_names = rename is None
        self._known: dict[int, tuple[Tensor, str, Key, LocalShard | None]] = {}
        self._strangers = 0
        self._filled: dict[Leaf, Key] = {}
        if model is not None and not isinstance(model, nn.Module):
            raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")

    def given(self, model: nn.Module, parts: Sequence[Part]) -> list[Given]:
        """What each parameter was last filled with."""
        check_marks((part.found for part in parts if part.shard is None), not self._keeps_names)
        parameters = [Parameter(tuple(map(self._rename, part.found.names)), part.parameter) for part in parts]
        bound = self._bound(parameters)
        if bound.lost:
            collect()  # a module with a cycle may still be there
            bound = self._bound(parameters)
        by_name = dict(zip((parameter.names[0] for parameter in parameters), parts, strict=True))
        left = {name: self._why_left(by_name[name].parameter, name) for name in bound.unwritten}
        check(bound, [name for name, why in left.items() if why], "the initialisation", self._strict)
        entries = {entry.name: entry for entry in bound.entries}
        return [
            self._given(part, entries.get(name), left.get(name, ""), name in bound.foreign)
            for name, part in by_name.items()
        ]

    def _bound(self, parameters: list[Parameter]) -> Bound:
        elsewhere = self.tape.held_elsewhere(parameter.tensor for parameter in parameters)
        return bind(parameters, self.tape.storages, live=True, elsewhere=elsewhere)

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
        state, view = self.tape.storages.state_of(planned.parameter)
        if state is None or state.before is not None or state.view != view or not isinstance(state.value, Drawn):
            return False
        drawn = state.value
        return (
            planned.law == drawn.law == drawn.leaf.law  # and not another's values
            and drawn.view is None
            and self._filled.get(drawn.leaf) == (planned.key if self._keeps_names else self._key(planned.name))
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

    def _key(self, name: str) -> Key:
        return Key.of(self._rename(name), self.seed)

    def _knows(self, tensor: Tensor) -> bool:
        """Whether the tensor is a parameter of the model."""
        found = self._known.get(id(tensor))
        if found is None and isinstance(tensor, nn.Parameter) and self._model is not None:
            # Materialising replaces parameters; those of other models are not to cost a walk each.
            if not self._strangers:
                self._known = {
                    id(found.parameter): (
                        found.parameter,
                        found.name,
                        self._key(found.name),
                        experts_shard(found.owner, found.parameter),
                    )
                    for found in tied(parameters_of(self._model))
                }
                self._strangers = len(self._known)
            self._strangers = max(0, self._strangers - 1)
            found = self._known.get(id(tensor))
        return found is not None and found[0] is tensor

    def _fill(self, tensor: Tensor, leaf: Leaf) -> None:
        if tensor.is_meta or self.tape.storages.is_copy(tensor):
            return
        name, key, shard = "", Key.of(f"drawn#{leaf.order}", self.seed), None
        if self._knows(tensor):
            _, name, key, shard = self._known[id(tensor)]
        try:
            fill_(tensor, leaf.law, key=key, shard=shard)  # type: ignore[arg-type]  # what is drawn follows a distribution
            if name:
                self._filled[leaf] = key
        except (ValueError, TypeError) as error:
            if not name:
                raise
            raise type(error)(f"{shown(name)}: {str(error).removeprefix('tensor: ')}") from None


def _global(tile: Tile, entry: Entry, shard: LocalShard | None) -> Tile:
    """A tile of a plain tensor that is a shard, in the logical tensor."""
    if shard is None:
        return tile
    offset = tuple(map(add, tile.offset, shard.global_offset))
    if tile.source != entry.name:
        raise ValueError(f"{shown(entry.name)}: expected numbers of its own in a shard, got those of {tile.source}")
    return Tile(offset, tile.shape, tile.law, tile.source, LocalShard(shard.global_shape, offset))
