"""What of torch all threads share, and is another while any of them records: replaced by the first, put back by the last."""

import threading
import warnings
from typing import Any

from torch._C._dynamo import guards
from torch.utils import _python_dispatch as modes

# torch's own notes of whether a mode is active. Each mode puts back what it has found, whichever thread's that was.
_NOTES = (
    "_is_in_torch_dispatch_mode",
    "_is_in_non_infra_torch_dispatch_mode",
    "_is_in_any_mode_without_ignore_compile_internals",
)


class Replaced:
    """An attribute of a module or a class that is replaced while any thread is within.

    What somebody else puts there meanwhile stays there, with a ``RuntimeWarning`` in the end: it is not known what is to come of
    it. They may put ours back later, when nobody is within any more; so ours must then do as ``original`` does.
    """

    def __init__(self, owner: Any, name: str, value: Any) -> None:
        self.original: Any = None
        self._owner = owner
        self._name = name
        self._value = value
        self._lock = threading.Lock()
        self._entered = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._entered:
                self._put()
            self._entered += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._entered -= 1
            left = not self._entered and not self._put_back()
        if left:
            warnings.warn(
                f"{self._owner.__name__}.{self._name} was replaced while fastinit had it replaced, and stays as it is",
                RuntimeWarning,
                stacklevel=2,
            )

    def _put(self) -> None:
        found = vars(self._owner)[self._name]
        if found is not self._value:
            self.original = found
            setattr(self._owner, self._name, self._value)

    def _put_back(self) -> bool:
        """Whether it was still ours."""
        ours = vars(self._owner)[self._name] is self._value
        if ours:
            setattr(self._owner, self._name, self.original)
        return ours


class Uncompiled(Replaced):
    """Within it nothing runs compiled, on any thread: a mode sees nothing of that, and no trace may outlive what is replaced.

    torch has one stance for all threads. Whoever enters finds it eager, whatever others have set meanwhile. Without it torch
    would not compile in a mode either, but would not compile later what was called there for the first time.
    """

    def __init__(self) -> None:
        super().__init__(None, "_stance", None)

    def __enter__(self) -> None:
        with self._lock:
            if not self._entered:
                # Imported by every framework, by each of torch's optimisers, and else by the first operator in a mode.
                from torch._dynamo import eval_frame

                self._owner, self._value = eval_frame, eval_frame.DynamoStance("force_eager")
            self._put()
            self._entered += 1

    def _put_back(self) -> bool:
        ours = super()._put_back()
        vars(self._value).update(vars(self.original))
        return ours


class Noted:
    """Around a mode: in the end torch's notes of modes are right, also where threads leave in another order than they entered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered = 0
        self._before: dict[str, bool] = {}

    def __enter__(self) -> None:
        with self._lock:
            if not self._entered:
                self._before = {name: getattr(modes, name) for name in _NOTES}
            self._entered += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._entered -= 1
            for name, before in self._before.items():
                setattr(modes, name, bool(self._entered) or before)
        # Of this thread; guards of what is compiled read it.
        guards.set_is_in_mode_without_ignore_compile_internals(modes.any_torch_dispatch_mode_on_stack())
