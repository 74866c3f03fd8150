"""Known: the parameters of a model that is initialised live, by identity, and the fills of what is drawn into them."""

from typing import NamedTuple

from torch import Tensor, nn

from fastinit.init import fill_
from fastinit.model.shown import shown
from fastinit.model.walk import experts_shard, parameters_of, tied
from fastinit.recipe.names import Rename, renamer
from fastinit.recipe.values import Leaf
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key, stream_of


class Own(NamedTuple):
    """A parameter of the model, which is held so that no other has its identity, and what it is filled with."""

    tensor: Tensor
    name: str
    key: Key
    shard: LocalShard | None


class Known:
    """What fills the numbers that a tape notes; without a model it knows no parameter. It does not hold the tape.

    A parameter whose name is known gets its final values when they are drawn. All else gets values of a stream of its own, so
    that what reads them finds numbers of the law, and the parameter its final values in the end.
    """

    def __init__(self, model: nn.Module | None, seed: int, rename: Rename) -> None:
        if model is not None and not isinstance(model, nn.Module):
            raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
        self.seed = Key(seed).seed
        self.name_of = renamer(rename)
        self.keeps_names = rename is None
        self._model = model
        self._own: dict[int, Own] = {}
        self._strangers = 0
        self._filled: dict[Leaf, Key] = {}

    def find(self, tensor: Tensor) -> Own | None:
        """What is known of a tensor, where it is a parameter of the model."""
        own = self._own.get(id(tensor))
        if own is None and self._model is not None and isinstance(tensor, nn.Parameter):
            # Materialising replaces parameters; those of other models are not to cost a walk each.
            if not self._strangers:
                self._own = self._walked(self._model)
                self._strangers = len(self._own)
            self._strangers = max(0, self._strangers - 1)
            own = self._own.get(id(tensor))
        return own if own is not None and own.tensor is tensor else None

    def fill(self, tensor: Tensor, leaf: Leaf, own: Own | None) -> None:
        """Give a tensor the numbers that were drawn into it."""
        if tensor.is_meta:
            return
        if own is None:
            fill_(tensor, leaf.law, key=Key.of(f"drawn#{leaf.order}", self.seed))  # type: ignore[arg-type]  # it is drawn
            return
        try:
            fill_(tensor, leaf.law, key=own.key, shard=own.shard)  # type: ignore[arg-type]  # as above
        except (ValueError, TypeError) as error:
            raise type(error)(f"{shown(own.name)}: {str(error).removeprefix('tensor: ')}") from None
        self._filled[leaf] = own.key

    def key_of(self, leaf: Leaf) -> Key | None:
        """What a parameter was filled by, when the leaf was drawn into it."""
        return self._filled.get(leaf)

    def _walked(self, model: nn.Module) -> dict[int, Own]:
        return {
            id(found.parameter): Own(
                found.parameter, found.name, self._key(found.name), experts_shard(found.owner, found.parameter)
            )
            for found in tied(parameters_of(model))
        }

    def _key(self, name: str) -> Key:
        """Of a parameter of that canonical name."""
        if self.keeps_names:
            return Key(self.seed, stream_of(name.encode()))
        return Key.of(self.name_of(name), self.seed)
