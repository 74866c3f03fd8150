"""patched: the real, unmodified OLMo-core initialises its models through fastinit.

OLMo-core says what each weight's law is, and a tape notes it, as in ``fastinit.keyed``; only what OLMo-core does to spread
values over ranks is replaced. So every rule of OLMo-core holds, also of blocks that fastinit has never heard of.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from fastinit import init
from fastinit.integrations.olmo_core_internals import Internals
from fastinit.integrations.session import Session
from fastinit.recipe.hooks import recording
from fastinit.recipe.shared import Replaced
from fastinit.stream import Key

_LOCK = threading.Lock()


@contextmanager
def patched(seed: int | None = None) -> Iterator[None]:
    """Within it, ``model.init_weights(...)`` of OLMo-core's models fills through fastinit.

    >>> from olmo_core.nn.transformer import TransformerConfig
    >>> config = TransformerConfig.llama_like(vocab_size=64, d_model=32, n_layers=2, n_heads=4)
    >>> model = config.build(init_device="meta")  # and model.apply_fsdp(mesh)
    >>> with fastinit.integrations.olmo_core.patched(seed=0):
    ...     generator = model.init_weights(device=torch.device("cpu"))
    >>> bool(fastinit.verify_model_(model, "normal", seed=0))  # OLMo-core's default, by the names of the parameters
    True

    Every parameter is keyed by its name and ``seed``, or the model's own ``init_seed`` when it is None: the values do not
    depend on ranks, meshes, the pipeline split or the expert-parallel degree. Models may be built inside or outside of it.
    A method of OLMo-core's ``InitMethod`` called by itself, where no names are known, takes its key from the generator. On
    exit, also by an exception, everything is as it was, but for what somebody else has replaced meanwhile: that stays, with a
    ``RuntimeWarning``.

    Raises:
        TypeError, ValueError: for a ``seed`` that is no integer in [0, 2**64).
        RuntimeError: at entry, when OLMo-core does not have the internals that are patched (3.0.0 is known), and when it is
            entered twice at a time, in one thread or in two. In ``init_weights``, when another thread than the one that
            entered calls it, and when random numbers are drawn that are no parameter's, or follow no law of fastinit's.
        ValueError: in ``init_weights``, what :func:`fastinit.keyed` raises.
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
        with ExitStack() as replaced:
            for replacement in patch.replacements():
                replaced.enter_context(Replaced(*replacement))
            yield
    finally:
        _LOCK.release()


class _Patch:
    """What replaces OLMo-core's functions, and the session of the model that is being initialised."""

    def __init__(self, internals: Internals, seed: int | None) -> None:
        self.internals = internals
        self.seed = seed
        self.thread = threading.get_ident()
        self.session: Session | None = None

    def replacements(self) -> list[tuple[Any, str, Any]]:
        """(module or class, attribute, its value while patched)."""
        found = self.internals
        made: list[tuple[Any, str, Any]] = [
            (found.init_module, "_apply_init", self._apply_init(found.init_module._apply_init)),
            (found.recurrent, "_copy_into_tensor_or_dtensor", self._copy(found.recurrent._copy_into_tensor_or_dtensor)),
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
            self.session = Session(model, seed)  # type: ignore[arg-type]
            try:
                with recording(self.session.tape):
                    generator = original(model, *args, **kwargs)
                self.session.finish(model)
            finally:
                self.session = None
            return generator

        return init_weights

    def _apply_init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """OLMo-core's fills the whole tensor on every rank and scatters it. Where no name is known, the generator is the key."""

        @functools.wraps(original)
        def apply_init(init_fun: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> None:
            if threading.get_ident() != self.thread:
                original(init_fun, x, *args, **kwargs)
            elif self.session is not None:
                init_fun(x, *args, **kwargs)
            else:
                getattr(init, init_fun.__name__)(x, *args, **kwargs)

        return apply_init

    def _copy(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """OLMo-core's scatters the values of the first rank, which is nothing that a tape can follow."""

        @functools.wraps(original)
        def copy(dst: Tensor, src: Tensor) -> None:
            if self._here() is None:
                original(dst, src)
            else:
                dst.copy_(src)

        return copy

    def _normalize(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def normalize_matrix(module: nn.Module, w: Tensor, dim: int = -1) -> None:
            session = self._here()
            if session is None:
                original(module, w, dim=dim)
            else:
                session.normalize(w, dim)

        return normalize_matrix
