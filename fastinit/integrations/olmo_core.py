"""patched: the real, unmodified OLMo-core initialises its models through fastinit.

OLMo-core says what each weight's law is; where a law is carried out, fastinit takes over, with the parameter's name as
the key. So every rule of OLMo-core holds, also of blocks that fastinit has never heard of.
"""

import functools
import inspect
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fastinit.init import fill_
from fastinit.integrations.olmo_core_internals import Internals
from fastinit.integrations.session import Session
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal, Uniform
from fastinit.recipe.hooks import uncompiled
from fastinit.stream import Key

_LOCK = threading.Lock()


@contextmanager
def patched(seed: int | None = None) -> Iterator[None]:
    """Within it, ``model.init_weights(...)`` of OLMo-core's models fills through fastinit.

    >>> with fastinit.integrations.olmo_core.patched():
    ...     model.init_weights(max_seq_len=4096, device=device, world_mesh=world_mesh)

    Every parameter is keyed by its name and ``seed``, or the model's own ``init_seed`` when it is None: the values do not
    depend on ranks, meshes, the pipeline split or the expert-parallel degree. Models may be built inside or outside of it.
    A method of OLMo-core's ``InitMethod`` called by itself, where no names are known, takes its key from the generator. On
    exit, also by an exception, everything is as it was.

    Raises:
        TypeError, ValueError: for a ``seed`` that is no integer in [0, 2**64).
        RuntimeError: at entry, when OLMo-core or torch do not have the internals that are patched (3.0.0 is known), and
            when it is entered twice at a time, in one thread or in two. In ``init_weights``, when another thread than the
            one that entered calls it, and when something draws random numbers past fastinit.
    """
    if seed is not None:
        Key(seed)  # raises for what is no seed
    if not _LOCK.acquire(blocking=False):
        raise RuntimeError(
            "patched: expected to be entered once at a time, but it is active, here or in another thread"
        )
    try:
        internals = Internals.found()
        patch = _Patch(internals, seed)
        with _replaced(patch.replacements()):
            yield
    finally:
        _LOCK.release()


@contextmanager
def _replaced(replacements: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Set attributes of modules and classes, and set them back."""
    originals = [(owner, name, vars(owner)[name]) for owner, name, _ in replacements]
    try:
        for owner, name, value in replacements:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in originals:
            setattr(owner, name, value)


class _Patch:
    """What replaces OLMo-core's and torch's functions, and the session of the model that is being initialised."""

    def __init__(self, internals: Internals, seed: int | None) -> None:
        self.internals = internals
        self.seed = seed
        self.thread = threading.get_ident()
        self.session: Session | None = None
        # A call of InitMethod's own outside of init_weights: no names are known, so the generator gives the key.
        self.nameless = False
        self.apply_init = internals.init_module._apply_init

    def replacements(self) -> list[tuple[Any, str, Any]]:
        """(module or class, attribute, its value while patched)."""
        found = self.internals
        made: list[tuple[Any, str, Any]] = [
            (found.init_module, "_apply_init", self._apply_init),
            (nn.init, "_no_grad_trunc_normal_", self._hook(nn.init._no_grad_trunc_normal_, _truncated_normal)),
            (nn.init, "_no_grad_normal_", self._hook(nn.init._no_grad_normal_, _normal)),
            (nn.init, "_no_grad_uniform_", self._hook(nn.init._no_grad_uniform_, _uniform)),
            (nn.init, "kaiming_uniform_", self._hook(nn.init.kaiming_uniform_, _kaiming_uniform)),
            (found.mamba, "reset_parameters", self._without_draws(found.mamba.reset_parameters)),
        ]
        made += [(cls, "init_weights", self._init_weights(cls.init_weights)) for cls in found.models]
        made += [(cls, "_normalize_matrix", self._normalize(cls._normalize_matrix)) for cls in found.normalized]
        return made

    def _here(self) -> Session | None:
        """The session, for the thread that it belongs to; other threads use torch as ever."""
        return self.session if threading.get_ident() == self.thread else None

    def _init_weights(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def init_weights(model: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != self.thread:
                raise RuntimeError("init_weights: expected the thread that entered patched(), got another one")
            if self.session is not None:  # a class calls its parent's
                return original(model, *args, **kwargs)
            seed = model.init_seed if self.seed is None else self.seed
            self.session = Session(model, seed, self.internals)  # type: ignore[arg-type]
            try:
                with self.session.no_other_draws(), uncompiled():  # nGPT compiles its normalize_matrices
                    generator = original(model, *args, **kwargs)
                    self.session.finish(generator)
            finally:
                self.session = None
            return generator

        return init_weights

    def _apply_init(self, init_fun: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> None:
        """In place of OLMo-core's, which fills the whole tensor on every rank and scatters it."""
        if threading.get_ident() != self.thread:
            self.apply_init(init_fun, x, *args, **kwargs)
        elif self.session is not None:
            self.session.begin()
            init_fun(x, *args, **kwargs)
        else:
            self.nameless = True
            try:
                init_fun(x, *args, **kwargs)
            finally:
                self.nameless = False

    def _hook(self, original: Callable[..., Any], law: Callable[..., Distribution]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        @functools.wraps(original)
        def fill(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            session = self._here()
            nameless = self.nameless and threading.get_ident() == self.thread
            if session is None and not nameless:
                return original(tensor, *args, **kwargs)  # type: ignore[no-any-return]
            arguments = signature.bind(tensor, *args, **kwargs).arguments
            generator = arguments.pop("generator", None)
            if session is None:
                return fill_(tensor, law(**arguments), generator=generator)
            return session.fill(tensor, law(**arguments))

        return fill

    def _without_draws(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Mamba2 draws its time steps with torch.rand; the session replaces them, and no generator is to move."""

        @functools.wraps(original)
        def reset_parameters(module: nn.Module, generator: torch.Generator | None = None) -> None:
            if self._here() is not None:
                generator = torch.Generator(next(module.parameters()).device).manual_seed(0)
            original(module, generator=generator)

        return reset_parameters

    def _normalize(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def normalize_matrix(module: nn.Module, w: Tensor, dim: int = -1) -> None:
            session = self._here()
            if session is None:
                original(module, w, dim=dim)
            else:
                session.normalize(w, dim)

        return normalize_matrix


# The laws of torch's fills, by the names of torch's arguments.


def _truncated_normal(tensor: Tensor, mean: float, std: float, a: float, b: float) -> Distribution:
    return TruncatedNormal(mean, std, a, b)


def _normal(tensor: Tensor, mean: float, std: float) -> Distribution:
    return Normal(mean, std)


def _uniform(tensor: Tensor, a: float, b: float) -> Distribution:
    return Uniform(a, b)


def _kaiming_uniform(
    tensor: Tensor, a: float = 0.0, mode: Any = "fan_in", nonlinearity: Any = "leaky_relu"
) -> Distribution:
    fan = nn.init._calculate_correct_fan(tensor, mode)
    bound = math.sqrt(3.0) * (nn.init.calculate_gain(nonlinearity, a) / math.sqrt(fan))
    return Uniform(-bound, bound)
