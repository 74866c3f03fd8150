"""What else could fill a tensor on a CPU: each library's own generator and law, where it is installed.

``pip install jax mkl_random``; numpy and torch are there. They are drawn from for their speed: none of them gives an element a
value of its own.
"""

import importlib
import os
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.providers import FILLS, MAIN, erfinv_

Fill = Callable[[Tensor], object]
STD, WIDTH, SEED = 0.02, 0.1, 7


def of(dtype: torch.dtype) -> dict[str, dict[str, Fill]]:
    """By fill of ``providers.FILLS``, those that can fill a tensor of this dtype with that law."""
    found: dict[str, dict[str, Fill]] = {fill: {} for fill in FILLS}
    for add in (_inductor, _jax, _numpy, _mkl):
        add(found, dtype)
    return {fill: fills for fill, fills in found.items() if fills}


def _numpy(found: dict[str, dict[str, Fill]], dtype: torch.dtype) -> None:
    if dtype != torch.float32:
        return
    for name, generator in (("Philox", np.random.Philox), ("SFC64", np.random.SFC64)):
        drawn = np.random.Generator(generator(SEED))

        def normal(tensor: Tensor, drawn: np.random.Generator = drawn) -> None:
            memory = tensor.view(-1).numpy()
            drawn.standard_normal(dtype=np.float32, out=memory)
            np.multiply(memory, np.float32(STD), out=memory)

        def uniform(tensor: Tensor, drawn: np.random.Generator = drawn) -> None:
            memory = tensor.view(-1).numpy()
            drawn.random(dtype=np.float32, out=memory)
            np.multiply(memory, np.float32(2 * WIDTH), out=memory)
            np.subtract(memory, np.float32(WIDTH), out=memory)

        found["normal_"][f"numpy {name}"] = normal
        found["uniform_"][f"numpy {name}"] = uniform


def _mkl(found: dict[str, dict[str, Fill]], dtype: torch.dtype) -> None:
    """In fp64, which is all that it draws, and cast."""
    mkl = _module("mkl_random")
    if mkl is None:
        return
    for name in ("SFMT19937", "PHILOX4X32X10"):
        drawn = mkl.RandomState(SEED, brng=name)

        def normal(tensor: Tensor, drawn: Any = drawn) -> None:
            tensor.view(-1).copy_(torch.from_numpy(drawn.normal(0.0, STD, tensor.numel(), method="ICDF")))

        def uniform(tensor: Tensor, drawn: Any = drawn) -> None:
            tensor.view(-1).copy_(torch.from_numpy(drawn.uniform(-WIDTH, WIDTH, tensor.numel())))

        found["normal_"][f"mkl_random {name}"] = normal
        found["uniform_"][f"mkl_random {name}"] = uniform


def _jax(found: dict[str, dict[str, Fill]], dtype: torch.dtype) -> None:
    """A new array: it has nothing that fills one in place."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")  # one thread
    jax = _module("jax")
    if jax is None:
        return
    random, made = jax.random, {torch.float32: jax.numpy.float32, torch.bfloat16: jax.numpy.bfloat16}[dtype]
    for name in ("threefry2x32", "rbg"):
        key = random.key(SEED, impl=name)
        draws: dict[str, Callable[..., Any]] = {
            MAIN: lambda key, shape: STD * random.truncated_normal(key, -3.0, 3.0, shape, made),
            "normal_": lambda key, shape: STD * random.normal(key, shape, made),
            "uniform_": lambda key, shape: random.uniform(key, shape, made, -WIDTH, WIDTH),
        }
        for fill, draw in draws.items():
            compiled = jax.jit(draw, static_argnums=1)
            found[fill][f"jax {name}"] = partial(_drawn, compiled, key)


def _drawn(compiled: Callable[..., Any], key: Any, tensor: Tensor) -> None:
    compiled(key, tuple(tensor.shape)).block_until_ready()


def _inductor(found: dict[str, dict[str, Fill]], dtype: torch.dtype) -> None:
    """torch.compile of what torch would do."""
    bound = 3 * STD
    fills: dict[str, Fill] = {
        MAIN: lambda tensor: erfinv_(tensor, 0.0, STD, -bound, bound),
        "normal_": lambda tensor: tensor.normal_(std=STD),
        "uniform_": lambda tensor: tensor.uniform_(-WIDTH, WIDTH),
    }
    for fill, call in fills.items():
        name = "inductor, erfinv formula" if fill == MAIN else "inductor"
        found[fill][name] = torch.compile(call, dynamic=False)


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
