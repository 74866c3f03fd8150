"""Run by test_launches.py in a process of its own: real compilation for sm_90, with a driver that writes launches down.

Prints one JSON object: how many launches were made without Triton's binder, and how many of them differ from what the binder
launches for the same fill, in the kernel or in any argument.
"""

import itertools
import json

import torch
import triton
from null_driver import Driver
from triton.runtime import driver

import fastinit
from fastinit import Key, LocalShard, direct, op
from fastinit.backends import triton as backend
from fastinit.backends import triton_launch

KERNELS = (backend.fill_rows, backend.fill_box)
launched: list[tuple[object, ...]] = []
bound: list[str] = []


class Launcher:
    """Writes a launch down: the kernel by its code, the grid, the stream, and all arguments, tensors by their address."""

    def __init__(self, source, metadata):
        self.kernel = source.hash(), metadata.hash

    def __call__(self, *arguments):
        # A loaded function, its metadata and the hooks are the kernel's, or Triton's.
        launched.append((self.kernel, *arguments[:4], *map(plain, arguments[9:])))


def plain(argument):
    return argument.data_ptr() if isinstance(argument, torch.Tensor) else argument


def watched(kernel):
    """Note each use of a kernel's binder."""
    run = kernel.run

    def noted(*arguments, **options):
        bound.append(kernel.__name__)
        return run(*arguments, **options)

    kernel.run = noted


def cases():
    """Every kind of launch: a view by where it begins, a key of any width, and a shard."""
    memory = torch.empty(2**14)
    shapes = [(1,), (4097,), (4, 24), (3, 5, 7), (2, 3, 2, 5)]
    keys = itertools.cycle([Key(), Key(1, 16), Key(2**31, 2**32), Key(2**64 - 1, 2**63)])
    offsets = itertools.cycle([0, 1, 16, 2**33])
    kinds = [*((torch.float32, shape) for shape in shapes), (torch.bfloat16, (4097,))]
    for (dtype, shape), gap in itertools.product(kinds, (0, 1)):
        strides = torch.empty([size + gap for size in shape], device="meta").stride()
        for order in (list(range(len(shape))), list(reversed(range(len(shape))))):

            def view(begin, dtype=dtype, shape=shape, strides=strides, order=order):
                return memory.view(dtype)[begin:].as_strided(shape, strides).permute(order)

            for _ in range(2):
                offset = next(offsets)
                place = [offset, *[0] * (len(shape) - 1)]
                yield view, next(keys), LocalShard((2**34, *view(0).shape[1:]), place)


def launches_of(tensor, key, shard, std=0.02):
    launched.clear()
    fastinit.trunc_normal_(tensor, std=std, a=-3 * std, b=3 * std, key=key, shard=shard)
    return list(launched)


def main() -> None:
    Driver.launcher_cls = Launcher
    driver.set_active(Driver())
    op.backend_for = lambda device_type: backend
    for kernel in KERNELS:
        watched(kernel)
    counts = {"launches": 0, "by the binder": 0, "otherwise than by it": 0}
    for view, key, shard in cases():
        for begin in (0, 1, 4, 8):  # a multiple of 16 bytes or not
            direct._plans.clear()
            expected = launches_of(view(begin), key, shard)
            direct._plans.clear()
            for other in range(8):  # the plan of other memory, and another key
                launches_of(view(other), Key(3, 5), shard)
            bound.clear()
            actual = launches_of(view(begin), key, shard)
            counts["launches"] += len(actual)
            counts["by the binder"] += len(bound)
            counts["otherwise than by it"] += actual != expected
    tensor, whole = torch.empty(4), LocalShard.whole((4,))
    launches_of(tensor, Key(), whole)
    bound.clear()
    triton.knobs.runtime.debug = True
    launches_of(tensor, Key(), whole)
    counts["by the binder, in debug mode"] = len(bound)
    triton.knobs.runtime.debug = False
    bound.clear()
    triton_launch._KNOWN = False
    launches_of(tensor, Key(), whole)
    counts["by the binder, of an unknown Triton"] = len(bound)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
