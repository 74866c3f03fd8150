"""record: a framework's own initialisation, run once, as a recipe."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fastinit.init import fill_
from fastinit.law.transformed import Constant
from fastinit.model.checks import check_present
from fastinit.model.roles import matches
from fastinit.model.shown import shown
from fastinit.model.tiles import Held, Tile
from fastinit.model.walk import parameters_of, tied
from fastinit.recipe.bind import Bound, Parameter, bind
from fastinit.recipe.entries import Entry
from fastinit.recipe.hooks import recording
from fastinit.recipe.marks import check_marks
from fastinit.recipe.names import Rename, renamer
from fastinit.recipe.own import own_init
from fastinit.recipe.recipe import Recipe
from fastinit.recipe.tape import Tape
from fastinit.recipe.values import Leaf
from fastinit.shard.geometry import LocalShard
from fastinit.stream import Key, canonical_name

_FEW, _EXACT = 4096, 2**53  # elements that are looked at, and whole numbers that fp64 has


def record(
    model: nn.Module | Callable[[], nn.Module],
    init: Callable[[nn.Module], Any] | None = None,
    *,
    rename: Rename = None,
    kept: Iterable[str] = (),
    device: torch.device | str = "meta",
) -> Recipe:
    """Run a framework's own initialisation, and note what each parameter is filled with.

    >>> recipe = fastinit.record(lambda: torch.nn.Linear(8, 4))
    >>> print(recipe["weight"].text())
    uniform in [-0.353553, 0.353553]
    >>> report = fastinit.init_model_(torch.nn.Linear(8, 4), recipe, seed=0)

    Args:
        model: a module, on the meta device or any other, whole: a sharded one would tell its shards. Or a function that builds
            one, which is called on ``device``.
        init: what initialises the model; called with it. Without it, the first that the model has of ``initialize_weights``
            (transformers), ``init_states`` (torchtitan) and ``init_weights`` (OLMo-core; not of a model that ``model`` has
            built, as constructors call that), or else each module's ``reset_parameters`` (or
            ``_reset_parameters``, as torch's attention) and the model's ``_init_weights``.
        rename: a function of a parameter's name, or a mapping: the names that the recipe and so the keys are to have.
        kept: patterns, as in fastinit.model.roles, of parameters that nothing writes, and that are to stay as they are.
        device: where a function builds the model. "meta" takes no memory; on "cpu" weights can be read, as some models do.

    Returns:
        A recipe: it prints, and fills any copy of the model, sharded or not, by :func:`fastinit.init_model_`.

    Raises:
        ValueError: parameters without elements, that nothing wrote, or whose random values come from an operator that has no law or
            cannot be run again, by name.
        RuntimeError: an operator that does not run on the meta device, a number that is read off a tensor there, or, on any device,
            off drawn values.
        TypeError: what is no module, and no function that returns one.

    Only the thread that calls sees a difference, and only until it returns. No generator of torch's moves for a parameter.
    """
    return recorded(model, init, rename=rename, kept=kept, device=device).recipe


class Recorded(NamedTuple):
    """A model whose initialisation was recorded, and the recipe."""

    model: nn.Module
    recipe: Recipe
    parameters: list[Parameter]
    tape: Tape

    def buffers(self) -> tuple[Entry, ...]:
        """What the persistent buffers hold; those whose values cannot be told have an entry without any."""
        if not any(True for _ in self.model.buffers()):
            return ()
        saved = self.model.state_dict()
        buffers = [Parameter((canonical_name(n),), buffer) for n, buffer in self.model.named_buffers() if n in saved]
        bound = bind([*self.parameters, *buffers], self.tape.storages)
        entries = {entry.name: entry for entry in bound.entries}
        return tuple(
            _as_held(entries.get(p.names[0]) or Entry(p.names[0], (), tuple(p.tensor.shape)), p) for p in buffers
        )


def _as_held(entry: Entry, buffer: Parameter) -> Entry:
    """What was computed of given numbers alone is there, as the framework has rounded it.

    One whole number, as that of the batches that a norm has seen, is a constant.
    """
    held = buffer.tensor.detach()
    if entry.computed is None or entry.computed.sources or held.is_meta:
        return entry
    numbers = set(held.flatten()[:_FEW].tolist())
    if len(numbers) == 1 and held.numel() < _FEW and isinstance(number := numbers.pop(), int) and number < _EXACT:
        whole = LocalShard.whole(entry.shape)
        tile = Tile(whole.global_offset, entry.shape, Constant(float(number)), entry.name, whole)
        return Entry(entry.name, (), entry.shape, (tile,))
    return Entry(entry.name, (), entry.shape, computed=Held(held.clone()))


def recorded(
    model: nn.Module | Callable[[], nn.Module],
    init: Callable[[nn.Module], Any] | None = None,
    *,
    rename: Rename = None,
    kept: Iterable[str] = (),
    device: torch.device | str = "meta",
    checked: bool = True,
) -> Recorded:
    """What :func:`record` does, with the model that it was done to.

    Unless ``checked``, parameters without values that can be told have an entry without any, as those that are ``kept``.
    """
    names = renamer(rename)
    weightless = torch.device(device).type == "meta"
    tape = Tape(_without_values if weightless else _some_values, has_values=False)
    with recording(tape, weightless):
        root, built = _built(model, device)
        ran = own_init(root, init, built)
    found = tied(parameters_of(root))
    check_present(root, found)
    check_marks(found, rename is not None)
    parameters = [Parameter(tuple(map(names, each.names)), each.parameter) for each in found]
    bound = bind(parameters, tape.storages)
    left = [name for name in bound.unwritten if any(matches(pattern, name) for pattern in kept)]
    if checked:
        check(bound, left, ran)
        _check_not_settled(bound)
    entries = {entry.name: entry for entry in bound.entries}
    ordered = tuple(
        entries.get(p.names[0]) or Entry(p.names[0], p.names[1:], tuple(p.tensor.shape)) for p in parameters
    )
    recipe = Recipe(type(root).__name__, ran, ordered, tuple(tape.random.items()))
    return Recorded(root, recipe, parameters, tape)


def _check_not_settled(bound: Bound) -> None:
    settled = [entry.name for entry in bound.entries if entry.settled]
    if settled:
        raise ValueError(
            "model: expected laws, got values that fastinit has filled in with keys of their own: "
            f"{', '.join(map(shown, settled))}"
        )


def _without_values(tensor: Tensor, leaf: Leaf) -> None:
    """What is recorded asks for no numbers."""


def _some_values(tensor: Tensor, leaf: Leaf) -> None:
    """Numbers of the law, as what is computed of whatever the memory held may fail."""
    fill_(tensor, leaf.law, key=Key(stream=leaf.order))  # type: ignore[arg-type]  # what is drawn follows a distribution


def _built(model: Any, device: torch.device | str) -> tuple[nn.Module, bool]:
    """The module, and whether it was built here."""
    if isinstance(model, nn.Module):
        return model, False
    if not callable(model):
        raise TypeError(f"model: expected a torch.nn.Module or a function that builds one, got {type(model).__name__}")
    if torch.device(device).type == "meta":  # Weightless sees to that
        root = model()
    else:
        with torch.device(device):
            root = model()
    if not isinstance(root, nn.Module):
        raise TypeError(f"model: expected a function that returns a torch.nn.Module, got {type(root).__name__}")
    return root, True


def check(bound: Bound, left: Iterable[str], ran: str) -> None:
    """Raise ``ValueError`` for parameters that cannot be filled, but for those that are left as they are."""
    unwritten = [name for name in bound.unwritten if name not in left]
    if unwritten:
        raise ValueError(
            f"model: expected {ran} to write every parameter, it did not write these {len(unwritten)}; kept= names those "
            "that stay as they are:\n  " + "\n  ".join(map(shown, unwritten))
        )
    if bound.lost:
        rows = [f"{shown(name)}: {why}" for name, why in bound.lost.items()]
        raise ValueError(
            f"model: expected values of every parameter that can be made again, got these {len(rows)}:\n  "
            + "\n  ".join(rows)
        )
