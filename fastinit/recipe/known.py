"""Known: the parameters of a model that is initialised live, and the fills of what is drawn into them."""

from torch import Tensor, nn

from fastinit.collector import paused
from fastinit.init import fill_
from fastinit.model.shown import shown
from fastinit.model.walk import Found, experts_shards, parameters_of, tied
from fastinit.recipe.names import Rename, renamer
from fastinit.recipe.values import Leaf
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key, stream_of


class Known:
    """What fills the numbers that a tape notes; without a model it knows no parameter. It does not hold the tape.

    A parameter whose name is known gets its final values when they are drawn. All else gets values of a stream of its own, so
    that what reads them finds numbers of the law, and the parameter its final values in the end.
    """

    def __init__(self, model: nn.Module | None, seed: int, rename: Rename) -> None:
        if model is not None and not isinstance(model, nn.Module):
            raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
        self.seed = Key(seed).seed
        self.renames = rename is not None
        self._renamed = renamer(rename)
        self._model = model
        self._tensors: list[Tensor] = []  # held, so that no other tensor has the identity of one
        self._keys: dict[int, Key] = {}  # by identity; one object for each parameter, as Python's collector visits all
        self._shards: dict[int, LocalShard] = {}
        self._strangers = 0
        self._filled: dict[Leaf, Key] = {}

    def find(self, tensor: Tensor) -> Key | None:
        """The key of a tensor that is a parameter of the model."""
        key = self._keys.get(id(tensor))
        if key is None and self._model is not None and isinstance(tensor, nn.Parameter):
            # Materialising replaces parameters; those of other models are not to cost a walk each.
            if not self._strangers:
                self._walk(self._model)
                self._strangers = len(self._keys)
            self._strangers = max(0, self._strangers - 1)
            key = self._keys.get(id(tensor))
        return key

    def fill(self, tensor: Tensor, leaf: Leaf, key: Key | None) -> None:
        """Give a tensor the numbers that were drawn into it; the key is what was found."""
        if tensor.is_meta:
            return
        if key is None:
            fill_(tensor, leaf.law, key=Key.of(f"drawn#{leaf.order}", self.seed))  # type: ignore[arg-type]  # it is drawn
            return
        try:
            fill_(tensor, leaf.law, key=key, shard=self._shards.get(id(tensor)))  # type: ignore[arg-type]  # as above
        except (ValueError, TypeError) as error:
            raise type(error)(f"{shown(self._name(tensor))}: {str(error).removeprefix('tensor: ')}") from None
        self._filled[leaf] = key

    def key_of(self, leaf: Leaf) -> Key | None:
        """What a parameter was filled by, when the leaf was drawn into it."""
        return self._filled.get(leaf)

    def names(self, found: Found) -> tuple[str, ...]:
        """The names of a parameter, its own first, which its key comes from."""
        return tuple(map(self._renamed, found.names)) if self.renames else found.names

    def _walk(self, model: nn.Module) -> None:
        found = paused(lambda: tied(parameters_of(model)))
        self._tensors = [each.parameter for each in found]
        self._keys = {id(each.parameter): Key(self.seed, stream_of(self.names(each)[0].encode())) for each in found}
        shards = zip(self._tensors, experts_shards(found, [each.owner for each in found]), strict=True)
        self._shards = {id(tensor): shard for tensor, shard in shards if shard is not None}

    def _name(self, tensor: Tensor) -> str:
        assert self._model is not None
        return next(found.name for found in tied(parameters_of(self._model)) if found.parameter is tensor)
