"""A fill by its plan is a fill as ever: the same bits, checks, warnings and traces in autograd, and watchers see an operator."""

import gc
import math
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from laws import assert_same_bits
from strategies import DTYPES, LAWS
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import fastinit
from fastinit import Key, LocalShard, direct, op
from fastinit.backends import llvm, reference
from fastinit.fill import Fill
from fastinit.init import fill_
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal, Uniform

KEY = Key(2**63 + 5, 2**64 - 7)
LAW = LAWS["3sigma"]
OPERATOR = torch.ops.fastinit.fill_.default

# Each within a larger tensor, of which the rest must stay as it is.
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "dense": lambda memory: memory[:64],
    "odd": lambda memory: memory[3:40],
    "scalar": lambda memory: memory[5],
    "rows": lambda memory: memory.view(20, 30)[2:9, 5:22],
    "strided": lambda memory: memory.view(20, 30)[::2, ::3],
    "transposed": lambda memory: memory.view(20, 30).t(),
    "bank": lambda memory: memory.view(4, 5, 30)[1:3, :, 4:11],
    "five loops": lambda memory: memory.view(2, 3, 2, 5, 10)[:, :2, :, :3, 1:9],
}


def by_reference(tensor: Tensor, law: Distribution, key: Key, shard: LocalShard | None = None) -> Tensor:
    reference.fill_(tensor, Fill(law, key, shard or LocalShard.whole(tuple(tensor.shape))))
    return tensor


def expected(*shape: int, law: Distribution = LAW, key: Key = KEY, shard: LocalShard | None = None) -> Tensor:
    return by_reference(torch.empty(shape), law, key, shard)


@pytest.fixture(autouse=True)
def no_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_plans", {})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_plan_fills_like_the_reference(dtype: torch.dtype, layout: str) -> None:
    for law in LAWS.values():
        for key in (KEY, Key(0, 1)):  # the second by the plan of the first
            got, truth = (torch.full((600,), math.nan, dtype=dtype) for _ in range(2))
            assert op.plan(LAYOUTS[layout](got), law, None) is not None
            fill_(LAYOUTS[layout](got), law, key=key)
            by_reference(LAYOUTS[layout](truth), law, key)
            assert_same_bits(got, truth)


@pytest.mark.parametrize("elements", [llvm.ELEMENTS_A_THREAD * 2 - 1, llvm.ELEMENTS_A_THREAD * 2])
def test_plans_of_one_thread_and_of_many(elements: int) -> None:
    for key in (KEY, Key(1)):
        assert_same_bits(fill_(torch.empty(elements), LAW, key=key), expected(elements, key=key))


def test_a_small_fill_takes_the_host_less_time_than_torch_s() -> None:
    """A quarter of it, measured; without plans it was twice as long. Of this thread's time, the least of many rounds in turn."""
    tensor, parameter, shard = torch.empty(64), nn.Parameter(torch.empty(64)), LocalShard((128,), (64,))
    numbers = LAW.parameters()
    calls: list[Callable[[], object]] = [
        lambda: nn.init.trunc_normal_(tensor, *numbers),
        lambda: fastinit.trunc_normal_(tensor, *numbers, key=KEY),
        lambda: fastinit.trunc_normal_(parameter, *numbers, key=KEY),
        lambda: fastinit.trunc_normal_(tensor, *numbers, key=KEY, shard=shard),
        lambda: fastinit.trunc_normal_(tensor, *numbers),
    ]
    least = [math.inf] * len(calls)
    for _ in range(20):
        for k, call in enumerate(calls):
            begin = time.thread_time()
            for _ in range(20):
                call()
            least[k] = min(least[k], time.thread_time() - begin)
    torchs, *ours, by_generator = least
    assert max(ours) < torchs / 2
    assert by_generator < torchs


# ------------------------------------------------------------------------------------------------- what a plan goes by

Given = dict[str, Any]
ALIKE: dict[str, tuple[Given, Given]] = {
    # What two fills differ in, and nothing else.
    "kind of law": (dict(law=Normal(0.0, 1.0)), dict(law=Uniform(0.0, 1.0))),
    "mean": (dict(law=Normal(0.0, 1.0)), dict(law=Normal(0.5, 1.0))),
    "std": (dict(law=Normal(0.0, 1.0)), dict(law=Normal(0.0, 2.0))),
    "bounds": (dict(law=TruncatedNormal(0.0, 1.0, -2.0, 2.0)), dict(law=TruncatedNormal(0.0, 1.0, -2.0, 3.0))),
    "dtype": (dict(tensor=torch.empty(64)), dict(tensor=torch.empty(64, dtype=torch.float64))),
    "half": (dict(tensor=torch.empty(64).half()), dict(tensor=torch.empty(64).bfloat16())),
    "shape": (dict(tensor=torch.empty(63)), dict(tensor=torch.empty(64))),
    "strides": (dict(tensor=torch.empty(8, 8)), dict(tensor=torch.empty(8, 8).t())),
    "place in memory": (dict(tensor=torch.empty(9)[:4]), dict(tensor=torch.empty(9)[5:])),
    "no shard": (dict(shard=None), dict(shard=LocalShard((128,), (64,)))),
    "global shape": (
        dict(tensor=torch.empty(4, 4), shard=LocalShard((8, 8), (1, 2))),
        dict(tensor=torch.empty(4, 4), shard=LocalShard((8, 9), (1, 2))),
    ),
    "global offset": (dict(shard=LocalShard((256,), (64,))), dict(shard=LocalShard((256,), (128,)))),
    "key": (dict(key=Key(1, 2)), dict(key=Key(2, 1))),
}  # fmt: skip


@pytest.mark.parametrize("what", ALIKE)
def test_fills_that_differ_in_one_thing_share_no_plan(what: str) -> None:
    for given in (*ALIKE[what], *ALIKE[what]):
        given = dict(tensor=torch.empty(64), law=LAW, key=KEY, shard=None) | given
        got = fill_(given["tensor"].fill_(math.nan), given["law"], key=given["key"], shard=given["shard"]).clone()
        assert_same_bits(got, by_reference(given["tensor"], given["law"], given["key"], given["shard"]))


def test_devices_share_no_plan() -> None:
    cpu, meta = torch.empty(3), torch.empty(3, device="meta")
    assert direct.what_counts(cpu, LAW) == direct.what_counts(torch.empty(3), LAW)
    assert direct.what_counts(cpu, LAW) != direct.what_counts(meta, LAW)


def test_backends_share_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    fill_(torch.empty(5), LAW, key=KEY)
    monkeypatch.setattr(op, "backend_for", lambda device_type: reference)
    assert op.plan(torch.empty(5), LAW, None) is None  # as torch's operators fill there


def test_numbers_of_every_type_mean_what_they_mean() -> None:
    """Equal ones are equal laws; those that only compare or hash like others are not."""
    tensor = torch.empty(64)
    rough = np.float32(0.02)  # equal to 0.02 where numpy compares them
    for std in (1, 1.0, True, np.float64(1), torch.tensor(1.0)):
        assert_same_bits(fastinit.normal_(tensor, 0, std, key=KEY), expected(64, law=Normal(0.0, 1.0)))
    for std in (0.02, rough, 0.02, rough):
        assert_same_bits(fastinit.normal_(tensor, 0.0, std, key=KEY), expected(64, law=Normal(0.0, float(std))))
    for mean in (0.0, -0.0, 0.0):
        assert_same_bits(fastinit.normal_(tensor, mean, 0.0, key=KEY), torch.zeros(64))
        assert not fastinit.normal_(tensor, mean, 0.0, key=KEY).signbit().any()
        assert not fastinit.uniform_(tensor, mean, 0.0, key=KEY).signbit().any()


def test_a_number_that_changes_is_read_again() -> None:
    std, tensor = torch.tensor(1.0), torch.empty(64)
    for value in (1.0, 2.0, 3.0):
        std.fill_(value)
        assert_same_bits(fastinit.normal_(tensor, 0.0, std, key=KEY), expected(64, law=Normal(0.0, value)))  # type: ignore[arg-type]


def test_what_is_wrong_is_wrong_every_time() -> None:
    tensor = torch.full((64,), 7.0)
    for number in (math.nan, math.inf):
        for _ in range(2):
            with pytest.raises(ValueError, match="mean"):
                fastinit.normal_(tensor, number, key=KEY)
    for _ in range(2):
        with pytest.raises(ValueError, match="of dtype float32"):
            fastinit.trunc_normal_(tensor, 0.0, 1.0, 0.06000001, 0.060000011, key=KEY)
        with pytest.raises(TypeError, match="shard: expected a fastinit"):
            fastinit.normal_(tensor, key=KEY, shard=[64])  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="shard: expected a tensor that fits"):
            fastinit.normal_(tensor, key=KEY, shard=LocalShard((64,), (1,)))
    assert (tensor == 7).all()
    assert not direct._plans


class Rank(LocalShard):
    """One of a type of its own, that changes."""

    __slots__ = ("rank",)

    @property
    def first_index(self) -> int:
        return self.rank * 64

    def __hash__(self) -> int:
        return 0


def test_a_shard_of_a_type_of_its_own_makes_no_plan() -> None:
    shard = Rank((256,), (0,))
    object.__setattr__(shard, "rank", 1)
    assert op.plan(torch.empty(64), LAW, shard) is None


def test_plans_are_bounded_and_hold_no_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "MOST", 8)
    for size in range(1, 50):
        tensor = fill_(torch.empty(size), LAW, key=KEY)
        assert 1 <= len(direct._plans) <= 8
    gone = weakref.ref(tensor)
    del tensor
    gc.collect()
    assert gone() is None


def test_two_threads_with_one_plan() -> None:
    """Each fill takes longer than the other thread's way to it, so they are at it at once, again and again."""
    truth = {k: expected(20_000, key=Key(k)) for k in range(2)}
    wrong: list[int] = []

    def fill_on(k: int) -> None:
        tensor = torch.empty(20_000)
        for _ in range(300):
            fill_(tensor.fill_(math.nan), LAW, key=Key(k))
            if not torch.equal(tensor, truth[k]):
                wrong.append(k)

    workers = [threading.Thread(target=fill_on, args=(k,)) for k in truth]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert len(direct._plans) == 1


# ------------------------------------------------------------------------------------------- what every call looks at


def test_memory_that_went_is_seen() -> None:
    tensor = torch.empty(64)
    fill_(tensor, LAW, key=KEY)
    tensor.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="tensor: expected memory for 64 elements"):
        fill_(tensor, LAW, key=KEY)


@pytest.mark.parametrize("offset", [0, 16])
def test_no_plan_writes_past_a_storage_that_shrank(offset: int) -> None:
    memory = torch.empty(64 + offset)
    tensor = memory[offset:].view(8, 8).t()
    assert op.plan(tensor, LAW, None) is not None
    memory.untyped_storage().resize_(4 * (64 + offset) - 1)
    assert op.plan(tensor, LAW, None) is None
    memory.untyped_storage().resize_(4 * (64 + offset))
    assert op.plan(tensor, LAW, None) is not None


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda dense: torch._neg_view(dense), "a view that torch negates"),
        (lambda dense: torch._efficientzerotensor(64), "expected memory for 64 elements"),
        (lambda dense: dense.as_strided((64,), (0,)), "expected one memory location an element"),
        (lambda dense: dense.to_sparse(), "expected a dense"),
        (lambda dense: torch.nested.nested_tensor([dense]), "expected a dense"),
        (lambda dense: dense.to(torch.int32), "expected dtype"),
    ],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype")
def test_tensors_like_a_plan_s_that_cannot_be_filled(make: Callable[[Tensor], Tensor], error: str) -> None:
    fill_(torch.empty(64), LAW, key=KEY)
    for _ in range(2):
        with pytest.raises((TypeError, ValueError), match=error):
            fill_(make(torch.ones(64)), LAW, key=KEY)


def test_warnings_are_given_every_time() -> None:
    for _ in range(3):
        with pytest.warns(UserWarning, match="mean is more than 2 std") as caught:
            fastinit.trunc_normal_(torch.empty(64), mean=5.0, key=KEY)
        assert caught[0].filename == __file__


def test_a_generator_moves_on_by_plans_too() -> None:
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    tensors = [fill_(torch.empty(64), LAW, generator=generators[0]) for _ in range(3)]
    assert len({tuple(tensor.tolist()) for tensor in tensors}) == 3
    for _ in range(3):
        torch.empty(2, dtype=torch.int64).random_(-(2**63), None, generator=generators[1])
    assert generators[0].get_state().tolist() == generators[1].get_state().tolist()


# --------------------------------------------------------------------------------------------------------- autograd


def operator_(tensor: Tensor) -> None:
    seed, stream = ((word + 2**63) % 2**64 - 2**63 for word in (KEY.seed, KEY.stream))
    OPERATOR(tensor, "TruncatedNormal", LAW.parameters(), seed, stream, tensor.shape, [0] * tensor.dim())


MODES: dict[str, Callable[[], Any]] = {
    "none": lambda: torch.enable_grad(),
    "no_grad": lambda: torch.no_grad(),
    "inference": lambda: torch.inference_mode(),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "anomaly": lambda: torch.autograd.detect_anomaly(check_nan=False),
}
TENSORS: dict[str, Callable[[], Tensor]] = {
    "plain": lambda: torch.ones(64),
    "parameter": lambda: nn.Parameter(torch.ones(64)),
    "frozen": lambda: nn.Parameter(torch.ones(64), requires_grad=False),
    "leaf": lambda: torch.ones(64, requires_grad=True),
    "inner": lambda: torch.ones(64, requires_grad=True) * 2,
    "view": lambda: torch.ones(2, 64)[1],
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_autograd_is_told_what_an_operator_tells_it(kind: str, mode: str) -> None:
    by_plan, by_operator = TENSORS[kind](), TENSORS[kind]()
    versions = by_plan._version, by_operator._version
    with MODES[mode]():
        assert op.plan(by_plan, LAW, None) is not None
        assert fill_(by_plan, LAW, key=KEY) is by_plan
        operator_(by_operator.detach())
    assert by_plan._version - versions[0] == by_operator._version - versions[1] == 1
    assert (by_plan.requires_grad, by_plan.is_leaf) == (by_operator.requires_grad, by_operator.is_leaf)
    assert type(by_plan.grad_fn) is type(by_operator.grad_fn)
    assert_same_bits(by_plan.detach(), by_operator.detach())


@pytest.mark.parametrize("mode", ["none", "inference"])
def test_inference_tensors_are_filled(mode: str) -> None:
    with torch.inference_mode():
        tensor = torch.empty(64)
    with MODES[mode]():
        assert op.plan(tensor, LAW, None) is not None
        fill_(tensor, LAW, key=KEY)
        assert_same_bits(tensor, expected(64))


def test_autograd_learns_of_a_plan_that_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.ones(64)
    plan = op.plan(tensor, LAW, None)
    assert plan is not None

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(direct, "_plans", dict.fromkeys(direct._plans, plan._replace(fill=fails)))
    with pytest.raises(KeyboardInterrupt):
        fill_(tensor, LAW, key=KEY)
    assert tensor._version == 1


# --------------------------------------------------------------------------------------------------------- watchers


class Functions(TorchFunctionMode):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(function)
        return function(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(function)
        return function(*args, **(kwargs or {}))


@pytest.fixture
def warm() -> Tensor:
    """A tensor for which there is a plan."""
    tensor = torch.empty(64)
    fill_(tensor, LAW, key=KEY)
    assert len(direct._plans) == 1
    return tensor.fill_(7.0)


@pytest.mark.parametrize("mode", [Functions, Operators])
def test_modes_see_an_operator(warm: Tensor, mode: type[Functions] | type[Operators]) -> None:
    with mode() as watching:
        fill_(warm, LAW, key=KEY)
    assert OPERATOR in watching.seen
    assert_same_bits(warm, expected(64))


@pytest.mark.parametrize("profiler", [torch.profiler.profile, torch.autograd.profiler.profile])
def test_profilers_see_an_operator(warm: Tensor, profiler: Any) -> None:
    with profiler() as profile:
        fill_(warm, LAW, key=KEY)
    assert "fastinit::fill_" in {row.key for row in profile.key_averages()}
    assert_same_bits(warm, expected(64))


def test_fake_mode_writes_nothing(warm: Tensor) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fill_(warm, LAW, key=KEY)
        fill_(mode.from_tensor(warm), LAW, key=KEY)
    assert (warm == 7).all()


def test_make_fx_writes_down_an_operator(warm: Tensor) -> None:
    graph = make_fx(lambda tensor: fill_(tensor, LAW, key=KEY))(warm)
    assert OPERATOR in {node.target for node in graph.graph.nodes}
    assert_same_bits(graph(torch.empty(64)), expected(64))


@pytest.mark.filterwarnings(
    "ignore:Converting a tensor to a Python boolean", "ignore:.*torch.jit.* is (deprecated|not supp)"
)
def test_jit_trace_writes_down_an_operator(warm: Tensor) -> None:
    traced = torch.jit.trace(lambda tensor: fill_(tensor, LAW, key=KEY), torch.empty(64))
    assert "fastinit::fill_" in str(traced.graph)
    assert_same_bits(traced(torch.empty(64)), expected(64))


@pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.functionalize, torch.func.grad])
def test_transforms_of_torch_func_see_an_operator(warm: Tensor, transform: Callable[..., Any]) -> None:
    plans: list[direct.Plan | None] = []

    def function(tensor: Tensor) -> Tensor:
        plans.extend([op.plan(tensor, LAW, None), op.plan(warm, LAW, None)])
        return tensor.sum()

    transform(function)(torch.ones(64))
    assert plans == [None, None]


def fill_one(tensor: Tensor) -> None:
    fill_(tensor, LAW, key=KEY)


def fill_listed(tensor: Tensor) -> None:
    fastinit.foreach_fill_([torch.empty(3), tensor], LAW, keys=[Key(), KEY])


@pytest.mark.parametrize("fill", [fill_one, fill_listed])
@pytest.mark.parametrize(
    "transform", [torch.func.grad, torch.func.jacrev, lambda function: torch.func.vmap(torch.func.grad(function))]
)
def test_a_tensor_that_is_made_within_a_transform(
    fill: Callable[[Tensor], None], transform: Callable[..., Any]
) -> None:
    """It has no memory of its own: what does is within it. Here the weights are the gradient of what they multiply."""

    def function(inputs: Tensor) -> Tensor:
        weights = torch.full((64,), math.nan)
        fill(weights)
        return (weights * inputs).sum()

    found = transform(function)(torch.ones(3, 64))
    assert_same_bits(found, expected(64).expand(3, 64))


def test_a_transform_that_has_no_rule_for_fills_says_so() -> None:
    tensor = torch.full((2, 64), math.nan)
    with pytest.raises(RuntimeError, match="rule not implemented for fastinit::fill_"):
        torch.func.vmap(lambda row: fill_(row, LAW, key=KEY).sum())(tensor)
    with pytest.raises(RuntimeError, match=r"custom .* operator"):
        torch.func.functionalize(lambda _: fill_(torch.zeros(64), LAW, key=KEY))(tensor)
    assert tensor.isnan().all()


def cut() -> Tensor:
    tensor = torch.zeros(64)
    tensor.untyped_storage().resize_(100)
    return tensor


@pytest.mark.parametrize(
    ("tensor", "law", "shape", "error"),
    [
        (cut, "Normal", (64,), r"^tensor: expected a storage of at least 256 bytes, got one of 100"),
        (lambda: torch.zeros(1).expand(64), "Normal", (64,), r"^tensor: expected one memory location an element"),
        (lambda: torch.zeros(64, dtype=torch.int32), "Normal", (64,), r"^tensor: expected dtype float32"),
        (lambda: torch.zeros(64), "Normal", (63,), r"^shard: "),
        (lambda: torch.zeros(64), "normal", (64,), r"^law: expected one of TruncatedNormal, Normal, Uniform"),
    ],
)
def test_the_operator_checks_what_it_is_given(
    tensor: Callable[[], Tensor], law: str, shape: tuple[int, ...], error: str
) -> None:
    """As a graph that was compiled for another tensor may: a fill without memory would end the process."""
    given = tensor()
    with pytest.raises((TypeError, ValueError), match=error):
        OPERATOR(given, law, [0.0, 1.0], 1, 2, shape, [0])


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.* is deprecated")
def test_compile_traces_an_operator(warm: Tensor) -> None:
    graphs: list[Any] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    filled = torch.compile(lambda tensor: fastinit.normal_(tensor, key=KEY) + 1, backend=backend, fullgraph=True)
    assert_same_bits(filled(warm), expected(64, law=Normal()) + 1)
    assert OPERATOR in {node.target for graph in graphs for node in graph.graph.nodes}


class Logged(Tensor):
    """A subclass, which is asked about functions."""

    seen: ClassVar[list[Any]] = []

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(function)
        return super().__torch_function__(function, types, args, kwargs or {})


def test_subclasses_see_an_operator(warm: Tensor) -> None:
    tensor = warm.as_subclass(Logged)
    assert op.plan(tensor, LAW, None) is None
    fill_(tensor, LAW, key=KEY)
    assert OPERATOR in Logged.seen


def test_nothing_watches_once_nothing_does(warm: Tensor) -> None:
    for _ in range(2):
        assert not direct.is_watched()
        with Functions(), Operators(), torch.profiler.profile():
            assert direct.is_watched()
    with torch.device("meta"):
        assert direct.is_watched()
    assert not direct.is_watched()
