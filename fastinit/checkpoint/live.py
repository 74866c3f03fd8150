"""Live: a model on the meta device, with its own laws and all that a checkpoint of it is to hold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fastinit.checkpoint import published
from fastinit.checkpoint.contents import Contents, entry_of
from fastinit.checkpoint.layout import Layout, laid_out
from fastinit.model.plan import plan_of
from fastinit.model.planned import Planned, Rules
from fastinit.model.shown import shown
from fastinit.model.skeleton import place
from fastinit.model.walk import parameters_of, tied
from fastinit.recipe.entries import Entry
from fastinit.recipe.recipe import Recipe
from fastinit.recipe.record import recorded
from fastinit.stream import canonical_name

Format = Literal["hf", "dcp", "olmo"]


@dataclass(frozen=True, slots=True)
class Live:
    """A model, the recipe of its own initialisation, and entries of its persistent buffers.

    ``files`` gives the layout of its published files, ``beside`` what lies next to them; none of either for a model that nobody
    publishes: its files have the names of its state dict.
    """

    model: nn.Module
    recipe: Recipe
    buffers: tuple[Entry, ...]
    files: Callable[["Live"], Layout] | None = None
    beside: Callable[[], Mapping[str, bytes]] | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The parameters and the persistent buffers, by name."""
        kept = {entry.name for entry in self.buffers}
        buffers = {canonical_name(name): buffer for name, buffer in self.model.named_buffers()}
        found = {parameter.name: parameter.parameter for parameter in tied(parameters_of(self.model))}
        return found | {name: buffer for name, buffer in buffers.items() if name in kept}

    def layout(self, form: Format) -> Layout:
        """What each tensor of a checkpoint of that form is made of, in the order of its files.

        Files have tied tensors once, a state dict has them under each name.
        """
        if form == "hf" and self.files is not None:
            return self.files(self)
        layout = published.layout_of(self.model.state_dict, self.tensors)
        return published.once(layout) if form == "hf" else layout

    def contents(self, form: Format, source: str, rules: Rules, said: str, laws: Recipe | None) -> Contents:
        """The checkpoint of that form, by the laws of a recipe, or else by what the rules plan.

        Raises ``ValueError`` or ``TypeError``, with names, for what cannot be filled.
        """
        plan = plan_of(self.model, rules)
        entries = {planned.name: _entry(planned, laws) for planned in plan}
        entries |= {entry.name: entry for entry in self.buffers}
        layout = self.layout(form)
        _check(entries, layout)
        tensors = self.tensors
        dtypes = {name: tensors[laid.cuts[0].source].dtype for name, laid in layout.items()}
        beside = self.beside() if form == "hf" and self.beside is not None else {}
        return Contents(source, said, rules.seed, laid_out(layout, entries), dtypes, beside)


def of_build(build: Callable[[], nn.Module], dtype: torch.dtype | None, checked: bool = True) -> Live:
    """What a function builds, in a dtype, or in the one that it builds it in. See ``record`` for what it raises.

    ``checked``: its own laws are asked for, so all of its parameters must have some.
    """
    known = recorded(build, checked=checked)
    buffers = known.buffers()
    model: Any = known.model
    if not published.is_transformers(model):
        return Live(model if dtype is None else model.to(dtype), known.recipe, buffers)
    own = dtype or model.dtype  # a model of transformers has it
    if dtype is not None and dtype != model.dtype:
        model.to(dtype)
    published.keep_in_fp32(model, own)
    return Live(
        model,
        known.recipe,
        buffers,
        lambda live: published.layout_of(lambda: published.saved(model), live.tensors),
        lambda: published.beside(model, own),
    )


def of_recipe(recipe: Recipe, dtype: torch.dtype) -> Live:
    """The parameters that a recipe is of, and nothing else."""
    model = nn.Module()
    for entry in recipe:
        parameter = nn.Parameter(torch.empty(entry.shape, dtype=dtype, device="meta"))
        for name in (entry.name, *entry.tied):
            place(model, name, parameter)
    return Live(model, recipe, ())


def _entry(planned: Planned, laws: Recipe | None) -> Entry:
    return entry_of(planned) if laws is None else replace(laws[planned.name], name=planned.name, tied=())


def _check(entries: Mapping[str, Entry], layout: Layout) -> None:
    """Raise ``ValueError`` for tensors that nothing fills."""
    sources = dict.fromkeys(cut.source for laid in layout.values() for cut in laid.cuts)
    empty = [name for name in sources if entries[name].kind == "kept"]
    if empty:
        raise ValueError(
            f"model: expected values of every tensor of the checkpoint, got none for these {len(empty)}:\n  "
            + "\n  ".join(map(shown, empty))
        )
