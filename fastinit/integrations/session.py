"""Session: one model on its way through init_weights, seen on a tape and filled in the end."""

from torch import Tensor, nn

from fastinit.integrations.normalize import normalize_
from fastinit.model.filling import fill_plan_
from fastinit.model.plan import plan_of
from fastinit.recipe.keyed import notes
from fastinit.recipe.known import Known
from fastinit.recipe.live import Live
from fastinit.recipe.values import Leaf
from fastinit.stream import Key


class _Late(Known):
    """Fills no parameter when numbers are drawn into it."""

    def fill(self, tensor: Tensor, leaf: Leaf, key: Key | None) -> None:
        """Numbers that are no parameter's, and may be read."""
        if key is None:
            super().fill(tensor, leaf, key)


class Session(Live):
    """The laws of one model, each keyed by the parameter's name.

    Before the first real fill, modules reset themselves (``reset_parameters``), to values that are overwritten later. So
    no parameter is filled before it is known what its last law is.
    """

    def __init__(self, model: nn.Module, seed: int) -> None:
        super().__init__(_Late(model, seed, None))
        self._normalized: list[tuple[Tensor, int]] = []

    def normalize(self, tensor: Tensor, dim: int) -> None:
        """Divide a weight in the end by its norms along a dimension, to the same bits however it is sharded."""
        self._normalized.append((tensor, dim))

    def finish(self, model: nn.Module) -> None:
        """Fill every parameter by its last law; nothing else is to be random."""
        others = list(notes(model, self))
        if others:
            raise RuntimeError(
                "patched: expected every random number to be a parameter's, and of a law of fastinit's, got: "
                + "; ".join(others)
            )
        plan = plan_of(model, self)
        fill_plan_(plan)
        laws = {id(planned.parameter): planned.law for planned in plan}
        for tensor, dim in self._normalized:
            normalize_(tensor, dim, laws[id(tensor)])  # type: ignore[arg-type]  # they were drawn
