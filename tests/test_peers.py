"""Fifteen cases in which initialisation by others fails, and fastinit's does not.

The failure is asserted as far as it shows on a CPU, so that it is heard of when it is mended. What wants ranks is in peer_cases.py,
and what JAX does in jax_cases.py.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gloo_ranks
import pytest
import torch
from forked import Forked
from scipy import stats
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import fastinit
from fastinit import Key, LocalShard, init

MILLION = 10**6
# Five standard errors of the mean, and of the standard deviation, of a million normal draws.
MEAN_BUDGET = 5 / MILLION**0.5
STD_BUDGET = 5 / (2 * MILLION) ** 0.5
KURTOSIS_BUDGET = 5 * (24 / MILLION) ** 0.5
FAN_BUDGET = 5 / (2 * 8 * 256 * 128) ** 0.5  # the same of a bank of 8 x 256 x 128
ORTHOGONAL_BUDGET = 2**-22  # what rounding each element to fp32 does to products of two columns
P_VALUE = 1e-6  # of a true law, one comparison in a million fails by chance
KEY = Key.of("w", 3)


def test_cases_1_to_6_and_11_to_14_on_ranks() -> None:
    gloo_ranks.run("peer_cases.py", 4)


def test_cases_8_to_10_of_jax() -> None:
    done = Forked(str(Path(__file__).with_name("jax_cases.py"))).wait(300)
    assert done.returncode == 0, done.stderr


def test_every_case_is_here() -> None:
    files = (Path(__file__), Path(__file__).with_name("peer_cases.py"))
    cases = [
        number for path in files for number in re.findall(r"^def (?:test_)?case_(\d+)_", path.read_text("utf-8"), re.M)
    ]
    assert set(map(int, cases)) == set(range(1, 16))


@pytest.mark.parametrize("std", [0.02, 0.0113])
def test_case_07_bf16_passes_its_bounds(std: float) -> None:
    """pytorch#145498, #174997: torch rounds the bounds themselves to the dtype, here outwards."""

    def outside(fill_: Callable[..., Tensor]) -> int:
        weight = fill_(torch.empty(MILLION, dtype=torch.bfloat16), std=std, a=-3 * std, b=3 * std)
        return int((weight.double().abs() > 3 * std).sum())

    assert outside(nn.init.trunc_normal_) > 0
    assert outside(init.trunc_normal_) == 0


def erfinv_formula_(tensor: Tensor, std: float, a: float, b: float) -> Tensor:
    """trunc_normal_ of torch up to 2.11 and of timm."""
    low, high = (math.erf(bound / std / 2**0.5) for bound in (a, b))
    return tensor.uniform_(low, high).erfinv_().mul_(std * 2**0.5).clamp_(a, b)


def test_case_08_wide_bounds_have_outliers() -> None:
    """torchtitan's defaults; pytorch#155588, jax#4559: a uniform that rounds to 1 is at infinity, and clamped to 100 sigmas."""

    def sigmas(fill_: Callable[..., Tensor], dtype: torch.dtype = torch.bfloat16) -> Tensor:
        return fill_(torch.empty(MILLION, dtype=dtype), std=0.02, a=-2.0, b=2.0).double() / 0.02

    theirs = sigmas(erfinv_formula_)
    assert theirs.abs().amax() > 99
    assert theirs.std() > 4
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        ours = sigmas(init.trunc_normal_, dtype)
        assert ours.abs().amax() < 7
        assert abs(ours.mean()) < MEAN_BUDGET
        assert abs(ours.std() - 1) < STD_BUDGET
        assert abs((ours**4).mean() / (ours**2).mean() ** 2 - 3) < KURTOSIS_BUDGET


class Operators(TorchDispatchMode):
    """How many were called."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_case_09_a_tail() -> None:
    """torch's values are right, after hundreds of operators."""
    weight = torch.empty(MILLION // 100)
    with Operators() as theirs:
        nn.init.trunc_normal_(weight, a=2.0, b=3.0)
    with Operators() as ours:
        init.trunc_normal_(weight, a=2.0, b=3.0, key=KEY)
    assert theirs.count > 100
    assert ours.count <= 2  # its own, and a detach
    tail = init.trunc_normal_tf_(torch.empty(MILLION // 10), a=5.5, b=8.0, key=KEY)
    assert stats.kstest(tail.double(), stats.truncnorm(5.5, 8.0).cdf).pvalue > P_VALUE


FANS: list[tuple[Callable[..., Tensor], Callable[..., Tensor], float, float]] = [
    (nn.init.kaiming_normal_, init.kaiming_normal_, (2 / 128) ** 0.5, 0.0625),
    (nn.init.xavier_normal_, init.xavier_normal_, (2 / (256 + 128)) ** 0.5, 0.1066),
]


@pytest.mark.parametrize(("theirs", "ours", "std", "factor"), FANS, ids=["kaiming", "xavier"])
def test_case_10_the_fan_of_a_bank(
    theirs: Callable[..., Tensor], ours: Callable[..., Tensor], std: float, factor: float
) -> None:
    """torch takes a bank of experts (expert, out, in) for a convolution: the std is too small."""
    bank = torch.empty(8, 256, 128)
    assert abs(theirs(bank).std() / std - factor) < factor * FAN_BUDGET
    with pytest.warns(UserWarning, match="layout"):
        assert abs(ours(bank).std() / std - factor) < factor * FAN_BUDGET
    ours(bank, layout="e o i", key=KEY)
    assert abs(bank.std() / std - 1) < FAN_BUDGET
    shard = LocalShard.split(tuple(bank.shape), {0: (1, 4), 1: (1, 2)})  # expert and tensor parallel
    part = ours(torch.empty(2, 128, 128), layout="e o i", key=KEY, shard=shard)
    assert torch.equal(part, bank[2:4, 128:])


def test_case_10_a_bank_is_not_orthogonal_expert_by_expert() -> None:
    def per_expert(bank: Tensor) -> float:
        return float((bank.double().mT @ bank.double() - torch.eye(16)).abs().amax())

    assert per_expert(nn.init.orthogonal_(torch.empty(4, 32, 16))) > 0.5
    assert per_expert(init.orthogonal_(torch.empty(4, 32, 16), layout="e o i")) < ORTHOGONAL_BUDGET


def test_case_15_a_trace() -> None:
    """pytorch#194768: the rejection loop depends on what was drawn."""
    torch._dynamo.reset()
    compiled = torch.compile(nn.init.trunc_normal_, fullgraph=True, backend="aot_eager")
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"[Dd]ata-dependent"):
        compiled(torch.empty(8, 8))
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        nn.init.trunc_normal_(torch.empty(8, 8))
    with FakeTensorMode():
        fastinit.trunc_normal_(torch.empty(8, 8), key=KEY)
    compiled = torch.compile(fastinit.trunc_normal_, fullgraph=True, backend="aot_eager")
    expected = fastinit.trunc_normal_(torch.empty(8, 8), key=KEY)
    assert torch.equal(compiled(torch.empty(8, 8), key=KEY), expected)


# ------------------------------------------------------------------------------------------------- and what goes with them


def seeded(fill: Callable[[], Tensor]) -> Tensor:
    torch.manual_seed(0)
    return fill()


def test_the_order_of_construction() -> None:
    """A layer before it changes a layer of torch's."""

    def second(first: int, build: Callable[..., Any]) -> Tensor:
        return seeded(lambda: build(lambda: nn.Sequential(nn.Linear(first, 8), nn.Linear(8, 4)))[1].weight.detach())

    assert not torch.equal(second(8, lambda make: make()), second(9, lambda make: make()))
    assert torch.equal(*(second(first, lambda make: fastinit.build(make)[0]) for first in (8, 9)))


def test_a_layout_in_memory() -> None:
    """Of one shape and seed; a transposed matrix is filled in the order of its memory."""

    def transposed(fill_: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        return seeded(lambda: fill_(torch.empty(8, 4))), seeded(lambda: fill_(torch.empty(4, 8).T))

    assert not torch.equal(*transposed(nn.init.normal_))
    assert torch.equal(*transposed(init.normal_))


def test_a_longer_vector_begins_otherwise() -> None:
    def begins(fill_: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        return seeded(lambda: fill_(torch.empty(15))), seeded(lambda: fill_(torch.empty(16)))[:15]

    assert not torch.equal(*begins(nn.init.normal_))
    assert torch.equal(*begins(init.normal_))


def test_a_std_of_zero() -> None:
    with pytest.raises(ZeroDivisionError):
        nn.init.trunc_normal_(torch.empty(2), mean=1.0, std=0.0)
    assert init.trunc_normal_(torch.empty(2), mean=1.0, std=0.0).tolist() == [1.0, 1.0]
