"""Session: one model on its way through init_weights, whose parameters are filled by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fastinit.integrations.normalize import normalize_
from fastinit.law.distributions import Distribution
from fastinit.law.transformed import Transformed
from fastinit.model.filling import fill_law_
from fastinit.model.walk import Found, experts_shard, parameters_of
from fastinit.stream import Key


class Framework(Protocol):
    """What a session must know of the framework."""

    def transformed(self, module: nn.Module) -> dict[str, Transformed]:
        """The laws that the framework computes by itself, by the parameter's name in the module."""
        ...


class Session:
    """The fills of one model, each keyed by the parameter's name.

    Before the first real fill, modules reset themselves (``reset_parameters``), to values that are overwritten later. So
    the laws of that pass are only noted, and carried out in the end for what nobody wrote to afterwards.
    """

    def __init__(self, model: nn.Module, seed: int, framework: Framework) -> None:
        self.model = model
        self.seed = seed
        self.framework = framework
        self._begun = False
        self._noted: dict[str, tuple[Tensor, Distribution, tuple[int, ...]]] = {}
        self._laws: dict[str, Distribution] = {}
        self._found: dict[int, Found] = {}

    def begin(self) -> None:
        """From now on laws are carried out at once."""
        self._begun = True

    def fill(self, tensor: Tensor, law: Distribution) -> Tensor:
        """Fill a parameter of the model, or note its law."""
        found = self._find(tensor)
        if self._begun:
            self._noted.pop(found.name, None)
            self._fill(found, law)
        else:
            self._noted[found.name] = (tensor, law, _versions(tensor))
        return tensor

    def finish(self, generator: object) -> None:
        """Carry out what is left, and check that no random number came from elsewhere."""
        self._found = {id(found.parameter): found for found in parameters_of(self.model)}
        for tensor, law, versions in self._noted.values():
            if id(tensor) in self._found and _versions(tensor) == versions:
                self._fill(self._found[id(tensor)], law)
        for module in self.model.modules():
            for name, transformed in self.framework.transformed(module).items():
                found = self._find(getattr(module, name))
                fill_law_(found.parameter, transformed, key=Key.of(found.name, self.seed))
        if isinstance(generator, torch.Generator):
            unmoved = torch.Generator(generator.device).manual_seed(generator.initial_seed())
            _check_unmoved("the model's generator", unmoved.get_state(), generator.get_state())

    def normalize(self, tensor: Tensor, dim: int) -> None:
        """Divide a weight by its norms along a dimension, to the same bits however it is sharded."""
        normalize_(tensor, dim, self._laws[self._find(tensor).name])

    @contextmanager
    def no_other_draws(self) -> Iterator[None]:
        """Raise when torch's default generators have moved: then some parameter is not what its name says."""
        states = _default_states()
        yield
        for device, state in _default_states().items():
            if device in states:
                _check_unmoved(f"torch's default generator of {device}", states[device], state)

    def _fill(self, found: Found, law: Distribution) -> None:
        self._laws[found.name] = law
        shard = experts_shard(found.owner, found.parameter)
        fill_law_(found.parameter, law, key=Key.of(found.name, self.seed), shard=shard)

    def _find(self, tensor: Tensor) -> Found:
        """The parameter by identity; looked up again when it is new, as materialising replaces parameters."""
        found = self._found.get(id(tensor))
        if found is None:
            self._found = {id(found.parameter): found for found in parameters_of(self.model)}
            found = self._found.get(id(tensor))
        if found is None:
            shape = tuple(tensor.shape)
            raise RuntimeError(
                f"patched: expected a fill of one of the model's parameters, got a tensor of shape {shape}"
            )
        return found


def _versions(tensor: Any) -> tuple[int, ...]:
    """How often a tensor, and the local tensor of a DTensor, have been written to."""
    local = getattr(tensor, "_local_tensor", tensor)
    return tensor._version, local._version


def _default_states() -> dict[str, Tensor]:
    states = {"the CPU": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        states |= {f"cuda:{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _check_unmoved(whose: str, before: Tensor, after: Tensor) -> None:
    if not torch.equal(before, after):
        raise RuntimeError(
            f"patched: expected every random fill to go through torch.nn.init, but {whose} has moved: some parameter "
            "has values that depend on ranks and on the order of fills"
        )
