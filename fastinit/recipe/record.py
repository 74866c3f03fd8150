"""record: a framework's own initialisation, run once, as a recipe."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fastinit.init import fill_
from fastinit.model.checks import check_present
from fastinit.model.roles import matches
from fastinit.model.shown import shown
from fastinit.model.walk import parameters_of, tied
from fastinit.recipe.bind import Bound, Parameter, bind
from fastinit.recipe.entries import Entry
from fastinit.recipe.graph import Graph
from fastinit.recipe.hooks import recording
from fastinit.recipe.marks import check_marks
from fastinit.recipe.names import Rename, renamer
from fastinit.recipe.own import own_init
from fastinit.recipe.pieces import reached_from
from fastinit.recipe.recipe import Recipe
from fastinit.recipe.tape import Tape
from fastinit.recipe.unchanged import unchanged
from fastinit.recipe.values import Foreign, Leaf
from fastinit.stream import Key


def record(
    model: nn.Module | Callable[[], nn.Module],
    init: Callable[[nn.Module], Any] | None = None,
    *,
    rename: Rename = None,
    kept: Iterable[str] = (),
    strict: bool = False,
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
        kept: patterns, as in fastinit.model.roles, of parameters that stay as they are where nothing writes them.
        strict: whether parameters that are computed from tensors of elsewhere (loaded, made before, or NumPy's, whose numbers no
            seed of fastinit's says) are an error; else the recipe notes it of each, and has a copy.
        device: where a function builds the model. "meta" takes no memory; on "cpu" weights can be read, as some models do.

    Returns:
        A recipe: it prints, and fills any copy of the model, sharded or not, by :func:`fastinit.init_model_`.

    Raises:
        ValueError: parameters without elements, that nothing wrote, or whose random values come from an operator that has no law or
            cannot be run again; two of one name by ``rename``; those that fastinit has filled with keys of their own; with
            ``strict``, those of elsewhere; and Megatron-core's of one rank, as for :func:`fastinit.init_model_`: all by name.
        RuntimeError: an operator that does not run on the meta device, a number that is read off a tensor there, or, on any device,
            off drawn values.
        TypeError: what is no module, and no function that returns one.

    What is recorded stays as it was, on any device: what its initialisation writes to the memory of parameters and buffers, and
    which of them it replaces, is put back, also after an error. A storage that is written to is copied meanwhile; a model on the
    meta device has none. Only the thread that calls sees a difference, and only until it returns. No generator of torch's moves
    for a parameter.
    """
    names = renamer(rename)
    weightless = torch.device(device).type == "meta"
    tape = Tape(_without_values if weightless else _some_values, has_values=False)
    with unchanged() as watch:
        with recording(tape, weightless):
            root, built = _built(model, device)
            watch(root)
            ran = own_init(root, init, built)
        found = tied(parameters_of(root))
        check_present(root, found)
        check_marks(found, rename is not None)
        parameters = [Parameter(tuple(map(names, each.names)), each.parameter) for each in found]
        bound = bind(parameters, tape.storages)
    for entry in bound.entries:
        for value in reached_from(entry.computed.read) if isinstance(entry.computed, Graph) else ():
            if isinstance(value, Foreign):
                value.keep()
    left = [name for name in bound.unwritten if any(matches(pattern, name) for pattern in kept)]
    check(bound, left, ran, strict)
    settled = [entry.name for entry in bound.entries if entry.settled]
    if settled:
        names_ = ", ".join(map(shown, settled))
        raise ValueError(
            f"model: expected laws, got values that fastinit has filled in with keys of their own: {names_}"
        )
    entries = {entry.name: entry for entry in bound.entries}
    entries |= {
        p.names[0]: Entry(p.names[0], p.names[1:], tuple(p.tensor.shape)) for p in parameters if p.names[0] in left
    }
    ordered = tuple(entries[parameter.names[0]] for parameter in parameters)
    return Recipe(type(root).__name__, ran, ordered, tuple(tape.random.items()))


def _without_values(tensor: Tensor, leaf: Leaf, found: bool) -> None:
    """What is recorded asks for no numbers."""


def _some_values(tensor: Tensor, leaf: Leaf, found: bool) -> None:
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


def check(bound: Bound, left: Iterable[str], ran: str, strict: bool) -> None:
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
    if strict and bound.foreign:
        raise ValueError(
            "strict: expected values that are made within the context, got copies of tensors from elsewhere in "
            + ", ".join(map(shown, bound.foreign))
        )
