"""keyed and build: a framework's own initialisation as it runs, filled by fastinit."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

from fastinit.collector import paused
from fastinit.model.filling import fill_plan_
from fastinit.model.plan import plan_of
from fastinit.model.planned import Planned
from fastinit.model.report import Report, Row, row_of
from fastinit.model.shown import shown
from fastinit.model.walk import packed_in
from fastinit.recipe.hooks import recording
from fastinit.recipe.known import Known
from fastinit.recipe.live import Live
from fastinit.recipe.names import Rename
from fastinit.recipe.pieces import reached_from
from fastinit.recipe.values import Drawn

_Model = TypeVar("_Model", bound=nn.Module)


@contextmanager
def keyed(
    model: nn.Module, seed: int = 0, *, strict: bool = False, kept: Iterable[str] = (), rename: Rename = None
) -> Iterator["LiveReport"]:
    """Within it, a framework's own initialisation of the model gives its parameters fastinit's values.

    >>> model = torch.nn.Linear(8, 4)
    >>> with fastinit.keyed(model, seed=0) as report:
    ...     model.reset_parameters()
    >>> same = fastinit.uniform_(torch.empty(4), *report["bias"].law.parameters(), key=fastinit.Key.of("bias", seed=0))
    >>> torch.equal(model.bias, same)
    True

    Args:
        model: whole or sharded (FSDP2, tensor, expert parallel, a pipeline stage); it may be materialised within the context.
        seed: of the whole model, as for :func:`fastinit.init_model_`.
        strict: whether parameters that are computed from tensors of elsewhere, loaded ones for instance, are an error.
        kept: patterns, as in fastinit.model.roles, of parameters that stay as they are where nothing writes them.
        rename: a function of a parameter's name, or a mapping: the name that its key comes from.

    Yields:
        A report, which is there when the context is left: what each parameter was filled with. "loaded" are those that the
        framework left alone as it does loaded ones (``_is_hf_initialized``, or without ``requires_grad``).

    Raises:
        ValueError: when the context is left, before the model is used: parameters that nothing wrote, that are still on the meta
            device, whose random values cannot be made again, or whose numbers were drawn into a parameter of another model (as of
            another pipeline stage) that has them still, by name. So are Megatron-core's parameters of a tensor-parallel rank, and
            without ``rename`` its experts of an expert-parallel one, for another rank would have the same numbers.

    A value depends on (seed, name, the last law of the parameter, global index) alone: not on what was filled before, the order, or
    the rank. What a framework makes of a number that it reads off a drawn tensor (``torch.rand(()).item()``) is a constant here; it
    depends on the seed, and on how many draws there were before. No generator of torch's moves for a parameter. Only this thread is
    affected, and after an exception torch is as it was. Where a model can be recorded unsharded, :func:`fastinit.record` is the
    better way: a framework's faults under sharding cannot enter there.
    """
    live = Live(Known(model, seed, rename), strict, tuple(kept))
    report = LiveReport()
    with recording(live.tape):
        yield report
    report.found = _finished(model, live)


def build(
    function: Callable[..., _Model],
    *args: Any,
    seed: int = 0,
    strict: bool = False,
    kept: Iterable[str] = (),
    rename: Rename = None,
    **kwargs: Any,
) -> tuple[_Model, Report]:
    """Call a function that builds a model, and give the model's parameters fastinit's values, by its framework's laws.

    >>> model, report = fastinit.build(torch.nn.Linear, 8, 4, seed=0)

    ``args`` and ``kwargs`` are the function's, and the others as for :func:`keyed`; ``functools.partial`` gives a function
    arguments of these names. Returns what it returns, and the report; names are those in the model that it returns. Raises what
    :func:`keyed` raises, and ``TypeError`` where the function returns no module.
    """
    live = Live(Known(None, seed, rename), strict, tuple(kept))
    with recording(live.tape):
        model = function(*args, **kwargs)
    if not isinstance(model, nn.Module):
        raise TypeError(f"function: expected one that returns a torch.nn.Module, got {type(model).__name__}")
    return model, _finished(model, live)


def _finished(model: nn.Module, live: Live) -> Report:
    """Every parameter as its last law has it."""
    rows, left = paused(lambda: _planned(model, live))  # a few objects a parameter, of which few are kept
    fill_plan_(left)
    return Report(live.method, live.seed, rows, packed_in(model), tuple(notes(model, live)))


def _planned(model: nn.Module, live: Live) -> tuple[tuple[Row, ...], list[Planned]]:
    """The rows of the report, and what is still to be filled."""
    plan = plan_of(model, live)
    meta = [planned.name for planned in plan if planned.parameter.is_meta]
    if meta:
        raise ValueError(
            "model: expected parameters with memory when the context is left, got meta parameters, for which "
            f"fastinit.record and init_model_(..., device=...) are the way: {', '.join(map(shown, meta))}"
        )
    return tuple(map(row_of, plan)), [planned for planned in plan if not live.has_filled(planned)]


def notes(model: nn.Module, live: Live) -> Iterator[str]:
    """What else was random."""
    for name, times in live.tape.random.items():
        yield f"{shown(name)} drew {times} times from torch's generators"
    storages = live.tape.storages
    drawn = [
        name
        for name, buffer in model.named_buffers()
        if storages.state_of(buffer)[0] is not None
        and any(isinstance(value, Drawn) for value in reached_from(storages.read(buffer)))
    ]
    if drawn:
        yield f"buffers hold drawn numbers, which depend on the order of the draws: {', '.join(map(shown, drawn))}"


class LiveReport:
    """The report of :func:`keyed`: a ``Report`` once the context was left, and before that a ``RuntimeError``."""

    found: Report | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._report(), name)

    def __getitem__(self, name: str) -> Any:
        return self._report()[name]

    def __str__(self) -> str:
        return str(self._report())

    def _report(self) -> Report:
        if self.found is None:
            raise RuntimeError(
                "report: expected the context to have been left, for only then is it known what was filled"
            )
        return self.found
