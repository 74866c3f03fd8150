"""One launch, made again and again: Triton's binder, which takes longer than all the rest of a fill, is asked once for each kernel.

A kernel is compiled for the arguments' types and some of their values. Of a launch all of these are fixed but for what
``chosen_by`` tells of the pointer and of Triton's settings: the key's words have a type, and no value of theirs makes a kernel
(``do_not_specialize``). So the kernel that the binder chose for one call is the one that it would choose for the next.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import triton
from torch import Tensor
from triton.compiler import CompiledKernel

# Those whose binder is known to choose by nothing else. With others, every launch is the binder's.
_KNOWN = triton.__version__.split(".")[:2] in (["3", "6"], ["3", "7"], ["3", "8"])
_NEAR = 2**31 - 1  # bytes: AMD's compiler addresses a smaller storage by 32 bits


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch, but for the pointer and the key."""

    kernel: Any
    programs: int
    storage_offset: int  # elements, of the first one
    place: tuple[int, ...]  # the kernel's arguments between the pointer and the key
    law: tuple[Any, ...]  # those from the key on
    options: dict[str, Any]  # what is fixed when the kernel is compiled


class Repeated:
    """A launch on one device, for tensors that differ in their memory alone."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.kernels: dict[Hashable, CompiledKernel] = {}
        # A compiled kernel takes all arguments by position, those that it was compiled for too.
        given = 1 + len(launch.place) + 4 + len(launch.law)
        self.fixed = tuple(launch.options[name] for name in launch.kernel.arg_names[given:])

    def __call__(self, tensor: Tensor, words: tuple[int, int, int, int]) -> None:
        launch = self.launch
        if launch.storage_offset:
            tensor = tensor.as_strided((1,), (1,), tensor.storage_offset() + launch.storage_offset)
        choice = chosen_by(tensor)
        kernel = self.kernels.get(choice)
        if kernel is not None:
            kernel[(launch.programs, 1, 1)](tensor, *launch.place, *words, *launch.law, *self.fixed)
            return
        kernel = launch.kernel[(launch.programs,)](tensor, *launch.place, *words, *launch.law, **launch.options)
        if choice is not None and isinstance(kernel, CompiledKernel):  # an interpreted one is none
            self.kernels[choice] = kernel


def chosen_by(tensor: Tensor) -> Hashable:
    """What a kernel is chosen by that may differ from call to call of a launch; None where that is not known."""
    knobs = triton.knobs
    if not _KNOWN or getattr(knobs.runtime, "add_stages_inspection_hook", None) is not None:
        return None
    return (
        tensor.data_ptr() % 16 == 0,
        tensor.untyped_storage().nbytes() <= _NEAR,
        knobs.runtime.debug,
        knobs.compilation.instrumentation_mode,
    )
