"""The main fills with other constants than backends/triton.py has: what the sweep compares, and what is compiled for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

import fastinit
from bench.layouts import LAYOUTS
from bench.providers import DTYPES
from fastinit import Key, LocalShard, direct
from fastinit.backends import triton as backend
from fastinit.backends import triton_table
from fastinit.backends.triton import spans
from fastinit.backends.triton_launch import Launch, Repeated
from fastinit.law.distributions import Distribution, Normal
from gpu import clamped
from gpu.fills import LAW, keys
from gpu.here import Here
from gpu.rows import DEFAULT

KEY = Key.of("sweep", 1)
LAWS: dict[str, Distribution] = {"3 sigma": LAW, "normal": Normal(0.0, 0.02)}
SMALL = 2**24  # bytes of a tensor that has the kernels of a large one
RESIDENT = (2, 1, 3, 4, 5, 6, 8, 12, 16)  # programs of a multiprocessor
Call = Callable[[], object]


class Variant(NamedTuple):
    """A call, and the launches in it where they are known, whose kernels tell of registers."""

    call: Call
    launches: list[Repeated]


class Group(NamedTuple):
    """What is compared with each other: tensors, of a size or small, and name -> a function that makes of them a Variant."""

    tensors: Callable[[bool], list[Tensor]]
    variants: dict[str, Callable[[list[Tensor]], Variant]]


def groups(here: Here) -> dict[str, Group]:
    found, dtypes = {}, {name: DTYPES[name] for name in here.sizes.measured}
    for (dtype_name, dtype), law_name in product(dtypes.items(), here.sizes.swept):
        name, law = f"{dtype_name}, {law_name}", LAWS[law_name]
        found[f"{name}: units and warps"] = _group(here, "linear", dtype, law, _units_and_warps())
        found[f"{name}: blocks and programs"] = _group(here, "linear", dtype, law, _blocks_and_programs())
        found[f"{name}: persistent"] = _persistent(here, dtype, law)
    for dtype_name, dtype in dtypes.items():
        found[f"{dtype_name}, bank: tiles"] = _group(here, "bank", dtype, LAW, _tiles())
        found[f"{dtype_name}, transposed: widths"] = _group(here, "transposed", dtype, LAW, _widths())
        found[f"{dtype_name}, list: units"] = _of_lists(here, dtype, _table_units())
        found[f"{dtype_name}, list: blocks and programs"] = _of_lists(here, dtype, _blocks_and_programs())
    found["bfloat16, 3 sigma: clamped pairs"] = _clamped(here)
    return found


Constants = dict[str, object]


def _units_and_warps() -> list[Constants]:
    """Of a thread four, eight and sixteen units."""
    return [dict(UNITS=32 * warps * share, WARPS=warps) for warps in (2, 4, 8) for share in (4, 8, 16)]


def _blocks_and_programs() -> list[Constants]:
    numbers = product((1, 2, 4, 8, 16, 32), (1024, 4096, 16384))
    return [dict(BLOCKS=blocks, PROGRAMS=programs) for blocks, programs in numbers]


def _tiles() -> list[Constants]:
    return [dict(TILE=tile, WIDTH=width) for tile in (256, 512, 1024) for width in (16, 32, 64, 128)]


def _widths() -> list[Constants]:
    return [dict(TILE=tile, TRANSPOSED_WIDTH=width) for tile in (256, 512, 1024) for width in (2, 4, 8, 16)]


def _table_units() -> list[Constants]:
    return [dict(UNITS=units) for units in ((512, 256, 64), (1024, 256, 64), (2048, 256, 64))]


@contextmanager
def settings(module: object, constants: Constants) -> Iterator[None]:
    """A backend's module with other constants, and no plan that was made with others."""
    before = {name: getattr(module, name) for name in constants}
    _forget()
    try:
        for name, value in constants.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
        _forget()


def _forget() -> None:
    backend.plan.cache_clear()
    triton_table._pieces.cache_clear()
    direct._plans.clear()


def _named(constants: Constants) -> str:
    return ", ".join(f"{name} {value}" for name, value in constants.items()) or DEFAULT


def _group(here: Here, layout: str, dtype: torch.dtype, law: Distribution, sets: list[Constants]) -> Group:
    """One tensor, whose launches are planned with each set of constants."""
    shards: list[LocalShard] = []

    def tensors(small: bool) -> list[Tensor]:
        size = min(here.sizes.sweep, SMALL) if small else here.sizes.sweep
        tensor, shard = LAYOUTS[layout](size // dtype.itemsize, dtype, here.device)
        shards[:] = [shard]
        return [tensor]

    def variant(constants: Constants) -> Callable[[list[Tensor]], Variant]:
        def made(tensors: list[Tensor]) -> Variant:
            with settings(backend, constants):
                launches = _planned(tensors[0], shards[0], law)
            return _launching(launches, tensors[0])

        return made

    return Group(tensors, {_named(constants): variant(constants) for constants in [{}, *sets[: here.sizes.variants]]})


def _planned(tensor: Tensor, shard: LocalShard, law: Distribution) -> tuple[Launch, ...]:
    return backend.plan(tuple(tensor.shape), tensor.stride(), tensor.dtype, shard, law)


def _launching(launches: tuple[Launch, ...], tensor: Tensor) -> Variant:
    repeated, words = [Repeated(launch) for launch in launches], backend._words(KEY)

    def call() -> None:
        for launch in repeated:
            launch(tensor, words)

    return Variant(call, repeated)


def _persistent(here: Here, dtype: torch.dtype, law: Distribution) -> Group:
    """As many programs as are resident at once, each of which fills its share of the blocks."""
    group = _group(here, "linear", dtype, law, [])
    processors = torch.cuda.get_device_properties(0).multi_processor_count

    def variant(resident: int) -> Callable[[list[Tensor]], Variant]:
        def made(tensors: list[Tensor]) -> Variant:
            (launch,) = _planned(tensors[0], LocalShard.whole(tuple(tensors[0].shape)), law)
            return _launching((of_programs(launch, processors * resident),), tensors[0])

        return made

    more = {f"{k} a multiprocessor": variant(k) for k in RESIDENT[: here.sizes.variants]}
    return Group(group.tensors, group.variants | more)


def of_programs(launch: Launch, programs: int) -> Launch:
    """A flat launch of at most so many programs, and more than half of them, which share its blocks."""
    place = dict(zip(launch.kernel.arg_names[1:], launch.place, strict=False))
    first, columns, size = place["first_index"], place["columns"], launch.options["UNITS"] * launch.options["VECTOR"]
    log2_blocks = (-(-columns // size // programs) - 1).bit_length()
    place["programs_per_row"] = spans(first, 0, columns, size << log2_blocks)
    return replace(
        launch, programs=place["programs_per_row"], place=tuple((place | dict(log2_blocks=log2_blocks)).values())
    )


class _Noting:
    """A kernel whose launches are made, and noted."""

    def __init__(self, kernel: Any) -> None:
        self.kernel, self.launches = kernel, []

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        def launch(*arguments: Any, **options: Any) -> None:
            self.launches.append((grid, arguments, options))
            self.kernel[grid](*arguments, **options)

        return launch


def _of_lists(here: Here, dtype: torch.dtype, sets: list[Constants]) -> Group:
    """The launches of a list, again and again from the same tables: to make these takes longer than to fill."""

    def tensors(small: bool) -> list[Tensor]:
        number = 3 if small else 3 * here.sizes.experts[0] * here.sizes.experts[1]
        return [torch.empty(here.sizes.matrix, dtype=dtype, device=here.device) for _ in range(number)]

    def variant(constants: Constants) -> Callable[[list[Tensor]], Variant]:
        def made(tensors: list[Tensor]) -> Variant:
            noting = _Noting(backend.fill_table)
            with settings(triton_table, constants), settings(backend, dict(fill_table=noting)):
                fastinit.foreach_fill_(tensors, LAW, keys=keys(len(tensors)))

            def call() -> None:
                for grid, arguments, options in noting.launches:
                    noting.kernel[grid](*arguments, **options)

            return Variant(call, [])

        return made

    return Group(tensors, {_named(constants): variant(constants) for constants in [{}, *sets[: here.sizes.variants]]})


def _clamped(here: Here) -> Group:
    """min.xorsign.abs.bf16x2 in the place of a floor for each element."""
    group = _group(here, "linear", torch.bfloat16, LAW, [])

    def made(tensors: list[Tensor]) -> Variant:
        (launch,) = _planned(tensors[0], LocalShard.whole(tuple(tensors[0].shape)), LAW)
        return _launching((clamped.instead_of(launch, LAW),), tensors[0])

    return Group(group.tensors, group.variants | {"min.xorsign.abs.bf16x2": made})
