"""The public fills: torch.nn.init's calls, where the key comes from, what they leave alone, and what bad input gets."""

import hashlib
import inspect
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from scipy import stats
from strategies import DTYPES, keys
from torch._subclasses.fake_tensor import FakeTensorMode

import fastinit
from fastinit import Key, LocalShard

FILLS = (fastinit.trunc_normal_, fastinit.normal_, fastinit.uniform_)
KEY = Key(11, 12)
fills = pytest.mark.parametrize("fill_", FILLS, ids=lambda fill_: fill_.__name__)


@fills
def test_signature_begins_as_torchs_does(fill_):
    ours = list(inspect.signature(fill_).parameters.values())
    theirs = list(inspect.signature(getattr(torch.nn.init, fill_.__name__)).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert [(p.name, p.kind, p.default) for p in ours[len(theirs) :]] == [
        ("key", inspect.Parameter.KEYWORD_ONLY, None),
        ("shard", inspect.Parameter.KEYWORD_ONLY, None),
    ]


@fills
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_same_object_comes_back_filled(fill_, dtype):
    tensor = torch.full((3, 50), math.nan, dtype=dtype)
    assert fill_(tensor, key=KEY) is tensor
    assert bool(tensor.isfinite().all())
    assert len(tensor.unique()) > 100


def test_positional_arguments_are_torchs():
    got = fastinit.trunc_normal_(torch.empty(9), 1.0, 2.0, 0.5, 3.0, torch.Generator().manual_seed(1))
    expected = fastinit.trunc_normal_(
        torch.empty(9), mean=1.0, std=2.0, a=0.5, b=3.0, generator=torch.Generator().manual_seed(1)
    )
    assert got.tolist() == expected.tolist()


def test_numbers_may_be_tensors_and_numpy_scalars():
    got = fastinit.normal_(torch.empty(9), torch.tensor(0.5), np.float64(2), key=KEY)
    assert got.tolist() == fastinit.normal_(torch.empty(9), 0.5, 2, key=KEY).tolist()


@pytest.mark.parametrize(
    ("fill_", "law"),
    [
        (lambda t: fastinit.uniform_(t, a=-1.5, b=2.5), stats.uniform(-1.5, 4)),
        (lambda t: fastinit.normal_(t, mean=1.5, std=3.0), stats.norm(1.5, 3)),
        (lambda t: fastinit.trunc_normal_(t, 0.3, 0.5, -0.4, 0.9), stats.truncnorm(-1.4, 1.2, 0.3, 0.5)),
        (lambda t: fastinit.trunc_normal_(t, a=2.0, b=3.0), stats.truncnorm(2, 3)),
    ],
)
@pytest.mark.filterwarnings("ignore:mean is more than 2 std")  # [2, 3] is one of the cases
@pytest.mark.parametrize("shape", [(2000,), (41, 37), (7, 5, 8, 9)])
def test_follows_the_law_as_torchs_own_tests_ask(fill_, law, shape):
    torch.manual_seed(123)
    values = fill_(torch.zeros(shape)).flatten().tolist()
    assert stats.kstest(values, law.cdf).pvalue > 1e-4


@pytest.mark.parametrize(("dtype", "least"), list(zip(DTYPES, (9900, 1500, 5000, 9900), strict=True)), ids=str)
def test_each_dtype_has_many_distinct_values(dtype, least):
    assert len(fastinit.trunc_normal_(torch.empty(10_000, dtype=dtype), key=KEY).unique()) > least


def test_warning_when_the_mean_is_far_from_the_interval():
    with pytest.warns(UserWarning, match=r"mean is more than 2 std from \[a, b\]") as caught:
        fastinit.trunc_normal_(torch.empty(3), mean=5.0, key=KEY)
    assert caught[0].filename == __file__


@fills
def test_default_generator_and_an_equal_one_agree(fill_):
    explicit = fill_(torch.empty(5), generator=torch.Generator().manual_seed(42))
    torch.manual_seed(42)
    assert fill_(torch.empty(5)).tolist() == explicit.tolist()


@fills
def test_two_calls_differ_and_the_seed_reproduces_both(fill_):
    torch.manual_seed(3)
    first, second = fill_(torch.empty(5)), fill_(torch.empty(5))
    assert not set(first.tolist()) & set(second.tolist())
    torch.manual_seed(3)
    assert [fill_(torch.empty(5)).tolist() for _ in range(2)] == [first.tolist(), second.tolist()]


@pytest.mark.parametrize("shape", [(0,), (1,), (1000, 3)])
def test_generator_moves_on_alike_whatever_the_shard(shape):
    moved, reference = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    fastinit.normal_(
        torch.empty(shape), generator=moved, shard=LocalShard((5000, 3)[: len(shape)], (2,) + (0,) * (len(shape) - 1))
    )
    fastinit.normal_(torch.empty(77), generator=reference)
    assert moved.get_state().tolist() == reference.get_state().tolist()


@given(key=keys)
def test_a_key_decides_alone(key):
    state = torch.get_rng_state()
    first = fastinit.normal_(torch.empty(6), key=key)
    assert fastinit.normal_(torch.empty(2, 3), key=key).flatten().tolist() == first.tolist()
    assert torch.get_rng_state().tolist() == state.tolist()


def test_keys_of_names():
    wrapped = "_orig_mod.module.blocks.0._fsdp_wrapped_module.mlp._checkpoint_wrapped_module.w1"
    stream = int.from_bytes(hashlib.blake2b(b"blocks.0.mlp.w1", digest_size=8).digest(), "little")
    assert Key.of(wrapped, 5) == Key.of("blocks.0.mlp.w1", 5) == Key(5, stream)
    assert Key.of("a.w", 1) != Key.of("b.w", 1)
    with pytest.raises(ValueError, match="only wrapper parts"):
        Key.of("module._orig_mod")


@fills
def test_meta_and_fake_tensors_stay_as_they_are(fill_):
    meta = torch.empty(4, 5, device="meta")
    state = torch.get_rng_state()
    assert fill_(meta) is meta
    assert torch.get_rng_state().tolist() == state.tolist()
    with FakeTensorMode():
        fake = torch.empty(4, 5)
        assert fill_(fake, key=KEY) is fake


@fills
def test_autograd_sees_the_change_and_records_nothing(fill_):
    parameter = torch.nn.Parameter(torch.ones(4))
    version = parameter._version
    loss = (parameter * parameter).sum()
    fill_(parameter, key=KEY)
    assert parameter.requires_grad
    assert parameter.grad_fn is None
    assert parameter._version > version
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@fills
def test_values_do_not_depend_on_strides(fill_):
    plain = fill_(torch.empty(6, 8, 10), key=KEY)
    for permutation in [(0, 2, 1), (2, 1, 0), (1, 0, 2)]:
        strided = torch.empty([(6, 8, 10)[d] for d in permutation]).permute(*map(permutation.index, range(3)))
        assert fill_(strided, key=KEY).tolist() == plain.tolist()


def test_a_shard_is_a_slice_of_the_whole():
    whole = fastinit.trunc_normal_(torch.empty(6, 8, 10), key=KEY)
    part = fastinit.trunc_normal_(torch.empty(2, 3, 4), key=KEY, shard=LocalShard((6, 8, 10), (3, 1, 5)))
    assert part.tolist() == whole[3:5, 1:4, 5:9].tolist()


@fills
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.* is deprecated")  # inductor's own, at its import
def test_compiled_fill_is_the_eager_one(fill_):
    @torch.compile(fullgraph=True)
    def filled(tensor):
        fill_(tensor, key=KEY)
        return tensor + 1

    eager = fill_(torch.empty(33), key=KEY)
    tensor = torch.empty(33)
    assert filled(tensor).tolist() == (eager + 1).tolist()
    assert tensor.tolist() == eager.tolist()


def test_operator_passes_torchs_own_check():
    arguments = (torch.empty(8), "Normal", (0.0, 1.0), 1, -2, (8,), (0,))
    torch.library.opcheck(torch.ops.fastinit.fill_.default, arguments, test_utils=("test_schema", "test_faketensor"))


GOOD = dict(trunc=fastinit.trunc_normal_, normal=fastinit.normal_, uniform=fastinit.uniform_)
BAD = {
    # what: (fill, tensor, arguments, error, the message names the argument, what was expected and what came)
    "not a tensor": ("normal", [1.0], {}, TypeError, "tensor: expected a torch.Tensor, got list"),
    "integer dtype": ("normal", torch.ones(3, dtype=torch.int32), {}, TypeError, "tensor: expected dtype .* got torch.int32"),
    "bool dtype": ("uniform", torch.ones(3, dtype=torch.bool), {}, TypeError, "tensor: expected dtype .* got torch.bool"),
    "complex dtype": ("trunc", torch.ones(3, dtype=torch.complex64), {}, TypeError, "got torch.complex64"),
    "8-bit float": ("trunc", torch.ones(3).to(torch.float8_e4m3fn), {}, TypeError, "got torch.float8_e4m3fn"),
    "sparse": ("normal", torch.ones(3).to_sparse(), {}, TypeError, "tensor: expected a dense .* got layout torch.sparse_coo"),
    "expanded": ("normal", torch.ones(1).expand(4), {}, ValueError, r"tensor: expected one memory .* got shape \(4,\)"),
    "overlapping": ("uniform", torch.ones(9).as_strided((3, 3), (2, 1)), {}, ValueError, "tensor: expected one memory"),
    "nan mean": ("trunc", 3, dict(mean=math.nan), ValueError, "mean: expected a number, got nan"),
    "infinite mean": ("normal", 3, dict(mean=math.inf), ValueError, "mean: expected a finite number, got inf"),
    "text for mean": ("normal", 3, dict(mean="x"), TypeError, "mean: expected a real number, got 'x'"),
    "huge mean": ("normal", 3, dict(mean=1e39), ValueError, "mean: expected a number within fp32's range, got 1e\\+39"),
    "nan std": ("normal", 3, dict(std=math.nan), ValueError, "std: expected a number, got nan"),
    "infinite std": ("trunc", 3, dict(std=math.inf), ValueError, "std: expected a finite number, got inf"),
    "negative std": ("normal", 3, dict(std=-1e-9), ValueError, "std: expected a number >= 0, got -1e-09"),
    "complex std": ("normal", 3, dict(std=1j), TypeError, "std: expected a real number, got 1j"),
    "None for std": ("normal", 3, dict(std=None), TypeError, "std: expected a real number, got None"),
    "huge std": ("normal", 3, dict(std=10**400), ValueError, "std: expected a number within fp64's range"),
    "a > b": ("trunc", 3, dict(a=1.0, b=0.5), ValueError, "a: expected a <= b, got a=1.0 and b=0.5"),
    "uniform a > b": ("uniform", 3, dict(a=1.0, b=0.5), ValueError, "a: expected a <= b, got a=1.0 and b=0.5"),
    "nan bound": ("trunc", 3, dict(a=math.nan), ValueError, "a: expected a number, got nan"),
    "infinite uniform": ("uniform", 3, dict(b=math.inf), ValueError, "b: expected a finite number, got inf"),
    "nothing between": ("trunc", 3, dict(a=0.06000001, b=0.060000011), ValueError, "a, b: expected .* dtype float32, got"),
    "nothing in bf16": ("trunc", torch.ones(3).bfloat16(), dict(a=1.001, b=1.002), ValueError, "of dtype bfloat16, got"),
    "nothing below b": ("uniform", 3, dict(a=0.06000001, b=0.060000011), ValueError, r"dtype float32, got \[.*\)"),
    "key and generator": ("normal", 3, dict(key=KEY, generator=torch.Generator()), ValueError, "key: expected .* got both"),
    "a number for key": ("normal", 3, dict(key=5), TypeError, "key: expected a fastinit.Key, got 5"),
    "a seed for generator": ("normal", 3, dict(generator=5), TypeError, "generator: expected a torch.Generator, got 5"),
    "a tuple for shard": ("normal", 3, dict(key=KEY, shard=(4,)), TypeError, r"shard: expected a fastinit.LocalShard, got \(4,\)"),
    "shard too small": (
        "normal", 3, dict(key=KEY, shard=LocalShard((4,), (2,))), ValueError,
        r"shard: expected a tensor that fits in global_shape \(4,\) at global_offset \(2,\), got one of shape \(3,\)",
    ),
    "shard of another rank": ("normal", 3, dict(shard=LocalShard((4, 4), (0, 0))), ValueError, "shard: expected a tensor"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore:mean is more than 2 std")  # some of the cases would warn too
def test_bad_input_is_named_and_nothing_is_written(case):
    name, tensor, arguments, error, message = BAD[case]
    tensor = torch.full((tensor,), 7.0) if isinstance(tensor, int) else tensor
    before = tensor.clone() if isinstance(tensor, torch.Tensor) else tensor
    state = torch.get_rng_state()
    with pytest.raises(error, match=message):
        GOOD[name](tensor, **arguments)
    assert str(tensor) == str(before)
    assert torch.get_rng_state().tolist() == state.tolist()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Key(-1), ValueError, r"seed: expected an int in \[0, 2\*\*64\), got -1"),
        (lambda: Key(0, 2**64), ValueError, "stream: expected an int"),
        (lambda: Key(1.5), TypeError, "seed: expected an int"),
        (lambda: Key(True), TypeError, "seed: expected an int"),
        (lambda: LocalShard((4,), (1, 2)), ValueError, "shard: expected as many offsets as dimensions"),
        (lambda: LocalShard((4,), (-1,)), ValueError, "shard: expected sizes and offsets >= 0"),
        (lambda: LocalShard((2**33, 2**33), (0, 0)), ValueError, r"shard: expected fewer than 2\*\*64 elements"),
    ],
)
def test_bad_keys_and_shards(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_an_unserved_device_is_named():
    from fastinit.backends import backend_for, get

    with pytest.raises(NotImplementedError, match="expected one on a CPU or a CUDA or ROCm device, got one on 'mps'"):
        backend_for("mps")
    with pytest.raises(ValueError, match="backend: expected one of triton, llvm, reference, got 'cuda'"):
        get("cuda")


def test_constants():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mean is outside [a, b] on purpose
        assert fastinit.trunc_normal_(torch.empty(2), 3.0, 0.0, key=KEY).tolist() == [2.0, 2.0]
    assert fastinit.trunc_normal_(torch.empty(2), a=0.1, b=0.1, key=KEY).tolist() == torch.full((2,), 0.1).tolist()
    assert fastinit.normal_(torch.empty(2), 1.5, 0.0, key=KEY).tolist() == [1.5, 1.5]
    assert fastinit.uniform_(torch.empty(2), 0.25, 0.25, key=KEY).tolist() == [0.25, 0.25]
