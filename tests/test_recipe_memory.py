"""What computed parameters take while a model is filled: the memory of one of them, however many there are."""

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import fastinit
from fastinit.recipe.graph import Graph

ELEMENTS = 2**12
WIDE = 8 * ELEMENTS  # bytes of a parameter's values in fp64
AT_ONCE = 4  # tensors of that size: two that an operator reads, what it makes, and the fp32 numbers of a draw


class Computed(nn.Module):
    """Parameters that follow no law, by many steps each."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(ELEMENTS)) for _ in range(count))

    def reset_parameters(self) -> None:
        with torch.no_grad():
            for weight in self.weights:
                values = torch.randn(ELEMENTS)
                for _ in range(12):
                    values = values.cos() + values
                weight.copy_(values)


class Alive(TorchDispatchMode):
    """The most bytes that what operators made had at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._made: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._made[StorageWeakRef(storage)] = storage.nbytes()
        self._made = {storage: size for storage, size in self._made.items() if not storage.expired()}
        self.most = max(self.most, sum(self._made.values()))
        return result


def test_the_values_of_one_parameter_are_there_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Computed(4)
    recipe = fastinit.record(lambda: Computed(4), lambda made: made.reset_parameters())
    assert recipe.kinds() == {"derived": 4}
    made: list[weakref.ref[Tensor]] = []
    value = Graph.value

    def watched(self: Graph, seed: int) -> Tensor:
        assert [each for each in made if each() is not None] == []
        found = value(self, seed)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(Graph, "value", watched)
    fastinit.init_model_(model, recipe, seed=0)
    assert len(made) == 4


def test_a_long_computation_takes_what_one_of_its_steps_does() -> None:
    recipe = fastinit.record(lambda: Computed(1), lambda made: made.reset_parameters())
    graph = recipe["weights.0"].computed
    assert graph is not None
    with Alive() as alive:
        found = graph.value(0)
    assert found.nbytes == WIDE
    assert alive.most <= AT_ONCE * WIDE, alive.most / WIDE
