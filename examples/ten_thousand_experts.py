"""10 000 expert matrices in one list: a few launches in place of 10 000, and the bits of one fill each.

CPU: python examples/ten_thousand_experts.py
GPU: python examples/ten_thousand_experts.py
"""

import time
from collections.abc import Callable

import torch

import fastinit
from fastinit.law.distributions import TruncatedNormal

device = "cuda" if torch.cuda.is_available() else "cpu"
EXPERTS, SHAPE = 10_000, (32, 16)
law = TruncatedNormal(mean=0.0, std=0.02, a=-0.06, b=0.06)
keys = [fastinit.Key.of(f"experts.{number}.w1", seed=0) for number in range(EXPERTS)]


def seconds(fill: Callable[[], object]) -> float:
    fill()
    start = time.perf_counter()
    fill()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def one_by_one() -> None:
    for expert, key in zip(experts, keys, strict=True):
        fastinit.trunc_normal_(expert, law.mean, law.std, law.a, law.b, key=key)


experts = [torch.empty(SHAPE, dtype=torch.bfloat16, device=device) for _ in range(EXPERTS)]
listed = [torch.empty_like(expert) for expert in experts]
print(f"one by one {seconds(one_by_one):.3f} s, ", end="")
print(f"in one list {seconds(lambda: fastinit.foreach_fill_(listed, law, keys=keys)):.3f} s")
assert all(map(torch.equal, listed, experts))
