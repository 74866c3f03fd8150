"""What several test files compare with: a filled model, and each backend in the CPU's place."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import interpreted
import pytest
import torch
from test_model import Model
from torch import Tensor, nn

import fastinit
from fastinit import Key, foreach, init_model_, op
from fastinit.backends import llvm, reference
from fastinit.law.distributions import Normal, Uniform
from fastinit.law.transformed import Constant, InverseSoftplusOfLogUniform, LogOfUniform

BACKENDS = {"triton": interpreted, "llvm": llvm, "reference": reference}
FILLS = (fastinit.trunc_normal_, fastinit.normal_, fastinit.uniform_)
LAWS = (LogOfUniform(0.0, 16.0), InverseSoftplusOfLogUniform(0.001, 0.1, 1e-4), Constant(3.0), Normal(), Uniform())
KEY = Key(1, 2)
backends = pytest.mark.parametrize("backend", BACKENDS)
on_a_cpu = pytest.mark.parametrize("backend", ["llvm", "reference"])
fills = pytest.mark.parametrize("fill_", FILLS, ids=lambda fill_: fill_.__name__)
laws = pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)


@contextmanager
def through(backend: str) -> Iterator[None]:
    with (
        mock.patch.object(op, "backend_for", return_value=BACKENDS[backend]),
        mock.patch.object(foreach, "backend_for", return_value=BACKENDS[backend]),
    ):
        yield


def same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def filled(method: str = "llama") -> nn.Module:
    model = Model()
    init_model_(model, method, seed=5)
    return model


def assert_filled(model: nn.Module, method: str = "llama") -> None:
    for (name, actual), expected in zip(model.named_parameters(), filled(method).parameters(), strict=True):
        torch.testing.assert_close(actual.detach(), expected.detach(), rtol=0, atol=0, msg=name)
