"""What is wrong with a call of fastinit.init is named, before anything is written and before a generator moves on."""

import math
from typing import Any

import pytest
import torch

from fastinit import Key, LocalShard, init

KEY = Key(11, 12)
WEIGHT, BANK = (4, 6), (2, 3, 4)
BAD: dict[str, tuple[str, Any, dict[str, Any], type[Exception], str]] = {
    "not a tensor": ("kaiming_normal_", [1.0], {}, TypeError, "tensor: expected a torch.Tensor, got list"),
    "an integer dtype": (
        "xavier_normal_",
        torch.ones(2, 2, dtype=torch.int8),
        {},
        TypeError,
        "tensor: expected dtype .* got torch.int8",
    ),
    "one dimension": (
        "kaiming_uniform_",
        (5,),
        {},
        ValueError,
        r"tensor: expected at least 2 dimensions, .* got shape \(5,\)",
    ),
    "no dimension": ("orthogonal_", (), {}, ValueError, r"tensor: expected at least 2 dimensions, .* got shape \(\)"),
    "another mode": (
        "kaiming_uniform_",
        WEIGHT,
        dict(mode="fan_avg"),
        ValueError,
        "mode: expected one of fan_in, fan_out, got 'fan_avg'",
    ),
    "no mode": (
        "kaiming_normal_",
        WEIGHT,
        dict(mode=None),
        ValueError,
        "mode: expected one of fan_in, fan_out, got None",
    ),
    "a mode that is none": (
        "variance_scaling_",
        WEIGHT,
        dict(mode="fan"),
        ValueError,
        "mode: expected one of fan_in, .*, fan_geo_avg, got 'fan'",
    ),
    "another distribution": (
        "variance_scaling_",
        WEIGHT,
        dict(distribution="cauchy"),
        ValueError,
        "distribution: expected one of truncated_normal, .* got 'cauchy'",
    ),
    "negative scale": (
        "variance_scaling_",
        WEIGHT,
        dict(scale=-1.0),
        ValueError,
        r"scale: expected a finite number >= 0, got -1\.0",
    ),
    "no nonlinearity": (
        "kaiming_normal_",
        WEIGHT,
        dict(nonlinearity="gelu"),
        ValueError,
        "nonlinearity: expected one of linear, .* got 'gelu'",
    ),
    "a list of them": (
        "kaiming_normal_",
        WEIGHT,
        dict(nonlinearity=["relu"]),
        ValueError,
        "nonlinearity: expected one of",
    ),
    "a slope of text": (
        "kaiming_normal_",
        WEIGHT,
        dict(a="x"),
        ValueError,
        "param: expected a negative slope, an int or a float, got 'x'",
    ),
    "a slope that is true": ("kaiming_normal_", WEIGHT, dict(a=True), ValueError, "param: expected a negative slope"),
    "a slope without end": ("kaiming_normal_", WEIGHT, dict(a=math.nan), ValueError, "std: expected a number, got nan"),
    "negative gain": (
        "xavier_uniform_",
        WEIGHT,
        dict(gain=-1),
        ValueError,
        "gain: expected a finite number >= 0, got -1",
    ),
    "infinite gain": (
        "xavier_normal_",
        WEIGHT,
        dict(gain=math.inf),
        ValueError,
        "gain: expected a finite number >= 0, got inf",
    ),
    "gain of text": ("orthogonal_", WEIGHT, dict(gain="x"), TypeError, "gain: expected a real number, got 'x'"),
    "no gain": ("orthogonal_", WEIGHT, dict(gain=math.nan), ValueError, "gain: expected a finite number, got nan"),
    "a layout of another shape": (
        "kaiming_normal_",
        WEIGHT,
        dict(layout="e o i"),
        ValueError,
        r"layout: expected .* \(4, 6\), .* got 'e o i'",
    ),
    "a layout without outputs": (
        "xavier_normal_",
        BANK,
        dict(layout="e k i"),
        ValueError,
        "layout: expected .*, o among them, got 'e k i'",
    ),
    "a layout without inputs": (
        "orthogonal_",
        BANK,
        dict(layout="e o k"),
        ValueError,
        "layout: expected .*, i among them, got 'e o k'",
    ),
    "a layout of numbers": (
        "lecun_normal_",
        BANK,
        dict(layout=[0, 1]),
        TypeError,
        r"layout: expected a text such as 'e o i', got \[0, 1\]",
    ),
    "an unknown number of experts": (
        "kaiming_normal_",
        WEIGHT,
        dict(layout="(e o) i"),
        ValueError,
        "num_experts: expected a divisor of 4 .* got None",
    ),
    "another number of experts": (
        "orthogonal_",
        WEIGHT,
        dict(layout="(e o) i", num_experts=3),
        ValueError,
        "num_experts: expected a divisor of 4 .* got 3",
    ),
    "no experts": (
        "kaiming_normal_",
        WEIGHT,
        dict(layout="o i", num_experts=0),
        ValueError,
        "num_experts: expected a number >= 1, got 0",
    ),
    "half an expert": (
        "kaiming_normal_",
        WEIGHT,
        dict(layout="o i", num_experts=0.5),
        TypeError,
        "num_experts: expected a whole number, got 0.5",
    ),
    "a tuple for shard": (
        "kaiming_normal_",
        WEIGHT,
        dict(shard=(4, 6)),
        TypeError,
        r"shard: expected a fastinit.LocalShard, got \(4, 6\)",
    ),
    "a shard too small": (
        "xavier_normal_",
        WEIGHT,
        dict(shard=LocalShard((4, 6), (1, 0))),
        ValueError,
        "shard: expected a tensor that fits",
    ),
    "a shard of one dimension": (
        "kaiming_normal_",
        WEIGHT,
        dict(shard=LocalShard((24,), (0,))),
        ValueError,
        "tensor: expected at least 2",
    ),
    "overlapping": (
        "orthogonal_",
        torch.ones(1, 1).expand(4, 4),
        {},
        ValueError,
        "tensor: expected one memory location an element",
    ),
    "a key and a generator": (
        "orthogonal_",
        WEIGHT,
        dict(key=KEY, generator=torch.Generator()),
        ValueError,
        "key: expected .* got both",
    ),
    "a number for key": (
        "sparse_",
        WEIGHT,
        dict(sparsity=0.5, key=5),
        TypeError,
        "key: expected a fastinit.Key, got 5",
    ),
    "a seed for generator": (
        "sparse_",
        WEIGHT,
        dict(sparsity=0.5, generator=5),
        TypeError,
        "generator: expected a torch.Generator, got 5",
    ),
    "more than all": (
        "sparse_",
        WEIGHT,
        dict(sparsity=1.5),
        ValueError,
        r"sparsity: expected a finite number in \[0, 1\], got 1.5",
    ),
    "less than none": (
        "sparse_",
        WEIGHT,
        dict(sparsity=-0.5),
        ValueError,
        r"sparsity: expected a finite number in \[0, 1\], got -0.5",
    ),
    "a text": ("sparse_", WEIGHT, dict(sparsity="x"), TypeError, "sparsity: expected a real number, got 'x'"),
    "no number": ("constant_", WEIGHT, dict(val="x"), TypeError, "val: expected a number, got 'x'"),
    "numbers": ("constant_", WEIGHT, dict(val=[1, 2]), TypeError, r"val: expected a number, got \[1, 2\]"),
    "a complex number": (
        "constant_",
        WEIGHT,
        dict(val=1j),
        ValueError,
        "val: expected .* dtype torch.float32 can hold, got 1j",
    ),
    "a number past 255": (
        "constant_",
        torch.ones(3).byte(),
        dict(val=300),
        ValueError,
        "torch.uint8 can hold, got 300",
    ),
    "a number past fp16's": (
        "constant_",
        torch.ones(1).half(),
        dict(val=1e6),
        ValueError,
        "torch.float16 can hold, got 1000000.0",
    ),
    "a list of ones": ("ones_", [0.0], {}, TypeError, "tensor: expected a torch.Tensor, got list"),
    "expanded zeros": (
        "zeros_",
        torch.ones(1).expand(4),
        {},
        ValueError,
        "tensor: expected one memory location an element",
    ),
    "sparse zeros": (
        "zeros_",
        torch.ones(3).to_sparse(),
        {},
        TypeError,
        "tensor: expected a dense .* got layout torch.sparse_coo",
    ),
    "a diagonal of a bank": ("eye_", BANK, {}, ValueError, r"tensor: expected 2 dimensions, got shape \(2, 3, 4\)"),
    "a diagonal elsewhere": (
        "eye_",
        WEIGHT,
        dict(shard=LocalShard((5, 6), (2, 0))),
        ValueError,
        "shard: expected a tensor that fits",
    ),
    "ones elsewhere": (
        "ones_",
        WEIGHT,
        dict(shard=LocalShard((5, 6), (2, 0))),
        ValueError,
        "shard: expected a tensor that fits",
    ),
    "zeros of no key": ("zeros_", WEIGHT, dict(key=7), TypeError, "key: expected a fastinit.Key, got 7"),
    "a diagonal of no key": ("eye_", WEIGHT, dict(key=7), TypeError, "key: expected a fastinit.Key, got 7"),
    "a kernel of no key": ("dirac_", BANK, dict(key=7), TypeError, "key: expected a fastinit.Key, got 7"),
    "no kernel": ("dirac_", WEIGHT, {}, ValueError, r"tensor: expected 3, 4 or 5 dimensions, got shape \(4, 6\)"),
    "a kernel of four": ("dirac_", (1,) * 6, {}, ValueError, "tensor: expected 3, 4 or 5 dimensions"),
    "groups that do not divide": (
        "dirac_",
        BANK,
        dict(groups=3),
        ValueError,
        "groups: expected a divisor of the 2 outputs, got 3",
    ),
    "no groups": ("dirac_", BANK, dict(groups=0), ValueError, "groups: expected a number >= 1, got 0"),
    "half a group": ("dirac_", BANK, dict(groups=1.0), TypeError, "groups: expected a whole number, got 1.0"),
    "a sparse bank": (
        "sparse_",
        BANK,
        dict(sparsity=0.5),
        ValueError,
        r"tensor: expected 2 dimensions, got shape \(2, 3, 4\)",
    ),
    "negative std": (
        "sparse_",
        WEIGHT,
        dict(sparsity=0.5, std=-1.0),
        ValueError,
        "std: expected a number >= 0, got -1.0",
    ),
    "no such std": ("sparse_", WEIGHT, dict(sparsity=0.5, std=1e-40), ValueError, "std: expected"),
    "bounds the wrong way": (
        "trunc_normal_tf_",
        WEIGHT,
        dict(a=2.0, b=1.0),
        ValueError,
        "a: expected a <= b, got a=2.0 and b=1.0",
    ),
    "std of a law in its units": (
        "trunc_normal_tf_",
        WEIGHT,
        dict(std=-1.0),
        ValueError,
        "std: expected a number >= 0, got -1.0",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore:layout. none was given")  # one of the cases may warn first
def test_bad_input_is_named_and_nothing_is_written(case: str) -> None:
    name, given, arguments, error, message = BAD[case]
    tensor = torch.full(given, 7.0) if isinstance(given, tuple) else given
    before, state = str(tensor), torch.get_rng_state()
    with pytest.raises(error, match=message):
        getattr(init, name)(tensor, **arguments)
    assert str(tensor) == before
    assert torch.get_rng_state().tolist() == state.tolist()
