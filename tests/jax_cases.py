"""Where JAX's initialisation fails, and fastinit's does not: ``python tests/jax_cases.py``.

The numbers are those of tests/test_peers.py. JAX is in a process of its own, as it starts threads, and other tests fork theirs.
"""

import jax
import torch
from jax import Array
from jax.nn.initializers import lecun_normal, variance_scaling

from fastinit import Key, init

MILLION = 10**6
KEY, THEIRS = Key.of("w", 3), jax.random.key(3)
BANK = (8, 256, 128)  # expert, in, out
STD = 256**-0.5
FAN_BUDGET = 5 / (2 * 8 * 256 * 128) ** 0.5  # five standard errors of a std


def case_08_a_bf16_uniform_is_too_coarse() -> None:
    """The quantile of one of bf16's numbers: 128 values in all, and what is next to 1 comes out at the bound."""
    theirs = jax.random.truncated_normal(THEIRS, -100.0, 100.0, (MILLION,), jax.numpy.bfloat16)
    assert len(jax.numpy.unique(theirs)) == 128
    assert abs(theirs).max() > 99
    ours = init.trunc_normal_(torch.empty(MILLION, dtype=torch.bfloat16), a=-100.0, b=100.0, key=KEY)
    assert len(ours.unique()) > 3000
    assert ours.abs().amax() < 7


def case_09_a_tail_is_one_value() -> None:
    """jax#10951: the distribution function is 1 in fp32 from 5.4 sigmas on."""
    theirs = jax.random.truncated_normal(THEIRS, 5.5, 8.0, (MILLION // 100,))
    assert len(jax.numpy.unique(theirs)) == 1
    assert theirs.min() > 7.99
    ours = init.trunc_normal_tf_(torch.empty(MILLION // 100), a=5.5, b=8.0, key=KEY)
    assert len(ours.unique()) > MILLION // 200
    assert 5.5 <= ours.amin() < ours.median() < 6


def case_10_a_bank_is_taken_for_a_convolution() -> None:
    """By default the experts are a kernel; MaxText names the experts as the inputs, and so the inputs as the outputs."""

    def std(bank: Array) -> float:
        return float(bank.std()) / STD

    assert abs(std(lecun_normal()(THEIRS, BANK)) - 8**-0.5) < FAN_BUDGET
    maxtext = variance_scaling(1.0, "fan_in", "truncated_normal", in_axis=(0,), out_axis=(1,))
    assert abs(std(maxtext(THEIRS, BANK)) - 0.5) < FAN_BUDGET  # the root of 256 / (8 * 128)
    right = variance_scaling(1.0, "fan_in", "truncated_normal", in_axis=-2, out_axis=-1, batch_axis=0)
    assert abs(std(right(THEIRS, BANK)) - 1) < FAN_BUDGET
    ours = init.variance_scaling_(torch.empty(BANK), 1.0, "fan_in", "truncated_normal", layout="e i o", key=KEY)
    assert abs(float(ours.std()) / STD - 1) < FAN_BUDGET


if __name__ == "__main__":
    for case in [case for name, case in sorted(globals().items()) if name.startswith("case_")]:
        case()
