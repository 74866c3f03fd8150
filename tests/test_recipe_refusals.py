"""What a recipe refuses, by the parameter's name, before a model is used; and what it lists."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from laws import assert_same_bits
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial
from torch.testing._internal.distributed.fake_pg import FakeStore

import fastinit

Body = Callable[[nn.Parameter], object]
AGAIN = "model: expected values of every parameter that can be made again, got these 1:\n  w: "


class Model(nn.Module):
    """One parameter."""

    def __init__(self, *shape: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full(shape or (4, 6), 7.0, dtype=dtype, device=device))


class Pair(nn.Module):
    """The second has the numbers of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Model(), Model()

    def init_weights(self) -> None:
        with torch.no_grad():
            self.b.w.copy_(self.a.w.normal_())


@torch.library.custom_op("fastinit_tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    """Somebody's own kernel."""
    return x * 2


@twice.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("fastinit_tests::double_", mutates_args=("x",))
def double_(x: Tensor) -> None:
    """One that writes."""
    x.mul_(2)


@pytest.fixture
def one_rank() -> Iterator[None]:
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


def raised(body: Body, model: nn.Module | None = None, **keyed: Any) -> tuple[str, str]:
    """What record and keyed say. The model is as it was where record was refused."""

    def init(made: nn.Module) -> None:
        with torch.no_grad():
            body(made.get_parameter("w"))

    with pytest.raises((ValueError, TypeError)) as recorded:
        fastinit.record(Model, init)
    model = Model() if model is None else model
    with pytest.raises((ValueError, TypeError)) as live, fastinit.keyed(model, **keyed):
        init(model)
    return str(recorded.value), str(live.value)


LOST: dict[str, tuple[Body, str]] = {
    "randint": (lambda w: w.copy_(torch.randint(0, 5, (4, 6))), "aten.randint.low"),
    "in place": (lambda w: w.random_(), "aten.random_.default"),
    "randperm": (lambda w: w.copy_(torch.randperm(24).view(4, 6)), "aten.randperm.default"),
    "sparse": (lambda w: nn.init.sparse_(w, 0.5), "aten.randperm.default"),
    "bernoulli": (lambda w: w.bernoulli_(0.5), "aten.bernoulli_.float"),
    "dropout": (lambda w: w.copy_(nn.functional.dropout(torch.randn(4, 6))), "aten.bernoulli_.float"),
    "exponential": (lambda w: w.exponential_(), "aten.exponential_.default"),
    "multinomial": (lambda w: w.copy_(torch.multinomial(torch.ones(24), 24).view(4, 6)), "aten.multinomial.default"),
    "some of it": (lambda w: (w.normal_(), w[1].exponential_()), "aten.exponential_.default"),
    "somebody's operator": (lambda w: w.copy_(twice(torch.randn(4, 6))), "fastinit_tests.twice.default"),
    "somebody's, in place": (lambda w: double_(w.normal_()), "fastinit_tests.double_.default"),
    "somebody's, of one row": (lambda w: double_(w.normal_()[1]), "fastinit_tests.double_.default"),
    "somebody's, of numbers": (lambda w: w.copy_(twice(torch.ones(4, 6))), "fastinit_tests.twice.default"),
}


@pytest.mark.parametrize("name", LOST)
def test_operators_that_have_no_law_or_cannot_be_run_again(name: str) -> None:
    body, operator = LOST[name]
    assert raised(body) == (f"{AGAIN}it went through {operator}",) * 2


@pytest.mark.usefixtures("one_rank")
def test_collectives_cannot_be_run_again() -> None:
    for body, operator in (
        (lambda w: dist.broadcast(w.normal_(), 0), "c10d.broadcast_.default"),
        (lambda w: dist.all_reduce(w.normal_()), "c10d.allreduce_.default"),
    ):
        assert raised(body) == (f"{AGAIN}it went through {operator}",) * 2


def test_operators_that_no_parameter_has_a_part_in_are_listed() -> None:
    def init(model: nn.Module) -> None:
        nn.init.zeros_(model.get_parameter("w"))
        twice(torch.ones(2)).bernoulli_()
        torch.empty(3).exponential_()
        torch.empty(3).exponential_()

    lines = [
        "aten.bernoulli_.float drew 1 times from torch's generators",
        "aten.exponential_.default drew 2 times from torch's generators",
    ]
    recipe = fastinit.record(Model, init)
    assert str(recipe).splitlines()[-2:] == lines
    model = Model()
    with fastinit.keyed(model) as report:
        init(model)
    assert str(report).splitlines()[-2:] == lines


def test_nothing_wrote_it() -> None:
    message = (
        "expected test_nothing_wrote_it.<locals>.init to write every parameter, it did not write these 2; kept= names "
        "those that stay as they are:\n  a.w\n  b.w"
    )

    def init(model: nn.Module) -> None:
        pass

    model = Pair()
    with pytest.raises(ValueError, match=f"{re.escape(message)}$"):
        fastinit.record(model, init)
    with pytest.raises(ValueError, match=r"these 1;(?s:.*):\n  b.w$"), fastinit.keyed(model, kept=["a.*"]):
        pass
    assert all(bool((w == 7).all()) for w in model.parameters())


ELSEWHERE: dict[str, Callable[[], Body]] = {
    "a tensor made before": lambda: _adding(torch.ones(4, 6)),
    "NumPy": lambda: lambda w: w.copy_(torch.from_numpy(np.ones((4, 6), np.float32))),
    "NumPy, as_tensor": lambda: lambda w: w.copy_(torch.as_tensor(np.ones((4, 6), np.float32))),
    "bytes": lambda: lambda w: w.copy_(torch.frombuffer(bytearray(96), dtype=torch.float32).view(4, 6)),
}


def _adding(other: Tensor) -> Body:
    return lambda w: w.copy_(other + 0)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_copies_of_elsewhere_are_listed_and_strict_refuses_them(name: str) -> None:
    body = ELSEWHERE[name]()
    model = Model()
    with fastinit.keyed(model) as report, torch.no_grad():
        body(model.w)
    assert (report["w"].role, report["w"].note) == ("foreign", "copied from a tensor of elsewhere")
    assert "copied from a tensor of elsewhere" in str(report)
    message = "strict: expected values that are made within the context, got copies of tensors from elsewhere in w$"

    def init(made: nn.Module) -> None:
        with torch.no_grad():
            body(made.get_parameter("w"))

    assert fastinit.record(Model, init)["w"].note.startswith("derived from a tensor of elsewhere")
    with pytest.raises(ValueError, match=message):
        fastinit.record(Model, init, strict=True)
    with pytest.raises(ValueError, match=message), fastinit.keyed(model, strict=True), torch.no_grad():
        body(model.w)
    with pytest.raises(ValueError, match=message), fastinit.keyed(model, strict=True), torch.no_grad():
        model.w.copy_(torch.randn(4, 6)).add_(_copied(body))


def _copied(body: Body) -> Tensor:
    made = Model()
    body(made.w)
    return made.w


def test_numbers_given_in_python_are_from_here() -> None:
    model = Model()
    with fastinit.keyed(model, strict=True) as report, torch.no_grad():
        model.w.copy_(torch.tensor([[0.5] * 6] * 4))
    assert report["w"].role == "derived"
    assert bool((model.w == 0.5).all())


def test_numpy_may_write_to_its_array_again() -> None:
    """What was copied is what it was then."""
    array = np.ones((4, 6), np.float32)

    def init(model: nn.Module) -> None:
        with torch.no_grad():
            model.get_parameter("w").copy_(torch.from_numpy(array) + torch.zeros(4, 6))
        array[:] = 9.0

    recipe, model = fastinit.record(Model, init), Model()
    fastinit.init_model_(model, recipe, seed=0)
    assert bool((model.w == 1).all())


def test_a_view_that_is_too_many_boxes_is_computed() -> None:
    """By the numbers that it would have by boxes, each way; it would have ten thousand."""

    def init(model: nn.Module) -> None:
        with torch.no_grad():
            w = model.get_parameter("w")
            w.zero_()
            w.view(-1)[1:9999:2].normal_()

    one, two = Model(100, 100), Model(100, 100)
    recipe = fastinit.record(Model(100, 100, device="meta"), init)
    assert recipe["w"].kind == "derived"
    fastinit.init_model_(one, recipe, seed=0)
    with fastinit.keyed(two, seed=0):
        init(two)
    numbers = fastinit.normal_(torch.empty(10_000), key=fastinit.Key.of("w"))
    expected = torch.zeros(10_000)
    expected[1:9999:2] = numbers[1:9999:2]
    for w in (one.w, two.w):
        assert_same_bits(w.detach(), expected.view(100, 100))


def normal(model: nn.Module) -> None:
    with torch.no_grad():
        model.get_parameter("w").copy_(torch.randn(4, 6))


def live(model: nn.Module) -> None:
    with fastinit.keyed(model):
        normal(model)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.complex64, torch.int8])
def test_dtypes_that_no_law_is_for(dtype: torch.dtype) -> None:
    model = Model()
    model.w = nn.Parameter(torch.zeros(4, 6, dtype=dtype), requires_grad=False)
    before = model.w.detach().clone()
    message = rf"w: expected dtype float32, bfloat16, float16 or float64, got {dtype}$"
    with pytest.raises(TypeError, match=message):
        fastinit.init_model_(model, fastinit.record(Model, normal))
    assert torch.equal(model.w.view(torch.uint8), before.view(torch.uint8))
    with pytest.raises(TypeError, match=message):
        live(model)


# torch 2.13 deprecates its own quantised tensors.
@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor.*:UserWarning", "ignore:.*quantiz.*:DeprecationWarning")
def test_quantised_parameters() -> None:
    model = Model()
    model.w = nn.Parameter(torch.quantize_per_tensor(torch.zeros(4, 6), 0.1, 0, torch.qint8), requires_grad=False)
    with pytest.raises(TypeError, match=r"w: expected one that holds its values, got a quantised one"):
        fastinit.init_model_(model, fastinit.record(Model, normal))


def test_placeholders() -> None:
    message = (
        "model: expected parameters with elements, got placeholders without any, as DeepSpeed's ZeRO-3 leaves them"
    )
    recipe = fastinit.record(Model, normal)
    for refused in (
        lambda model: fastinit.init_model_(model, recipe),
        lambda model: fastinit.record(model, lambda made: made.w.data.normal_()),
        lambda model: _keyed(model, lambda made: made.w.data.normal_()),
    ):
        model = Model()
        model.w.data = torch.empty(0)
        with pytest.raises(ValueError, match=f"{message}.*: w$"):
            refused(model)


def _keyed(model: nn.Module, init: Callable[[Any], object]) -> None:
    with fastinit.keyed(model):
        init(model)


def test_partial_placements() -> None:
    dist.init_process_group("fake", rank=1, world_size=4, store=FakeStore())
    try:
        mesh = init_device_mesh("cpu", (4,))
        model = Model()
        model.w = nn.Parameter(DTensor.from_local(torch.zeros(4, 6), mesh, [Partial()]))
        recipe = fastinit.record(Model, normal)
        message = r"w: expected a DTensor whose placements"
        with pytest.raises(ValueError, match=message):
            fastinit.init_model_(model, recipe)
        with pytest.raises(ValueError, match=message):
            _keyed(model, lambda made: nn.init.normal_(made.w))
    finally:
        dist.destroy_process_group()


def test_names_and_shapes_that_the_recipe_does_not_have() -> None:
    recipe = fastinit.record(Model, normal)
    other, narrow = Pair(), Model(3, 6)
    with pytest.raises(ValueError, match=r"recipe: expected an entry for every(?s:.*)these 2;(?s:.*):\n  a.w\n  b.w$"):
        fastinit.init_model_(other, recipe)
    with pytest.raises(ValueError, match=r"of the shapes that were recorded;(?s:.*)\n  w of 3x6, recorded as 4x6$"):
        fastinit.init_model_(narrow, recipe)
    with pytest.raises(ValueError, match=r"recipe: expected an entry for each parameter, got w for a.w and b.w"):
        fastinit.init_model_(other, recipe, rename=lambda name: "w")
    assert all(bool((w == 7).all()) for w in (*other.parameters(), *narrow.parameters()))


def test_the_owner_of_shared_numbers_is_in_another_stage() -> None:
    """Its name is not known here: with another the whole model's values would be others."""
    message = f"{AGAIN}its numbers are those of a parameter that is not in the model, as in another stage"
    whole = Pair()
    with pytest.raises(ValueError, match=f"{message}$"), fastinit.keyed(whole.b):
        whole.init_weights()
    with pytest.raises(ValueError, match="as in another stage"), fastinit.keyed(whole.a), fastinit.keyed(whole.b):
        whole.init_weights()
    with fastinit.keyed(whole) as report:
        whole.init_weights()
    assert report["b.w"].note == "shares a.w's values"
    with fastinit.keyed(whole.a):  # which is the owner
        whole.init_weights()


def test_a_module_that_is_gone_owns_nothing() -> None:
    """Neither does one that is only waiting for Python's collector."""
    model = Model()
    with fastinit.keyed(model) as report, torch.no_grad():
        model.w.copy_(_cycle().weight)
    assert report["w"].role == "law"


def _cycle() -> nn.Linear:
    made = nn.Linear(6, 4)
    made.__dict__["itself"] = made
    return made


def test_numbers_read_off_drawn_values() -> None:
    """Live they are there, by the seed. A recipe has no seed."""

    def init(model: nn.Module) -> None:
        with torch.no_grad():
            model.get_parameter("w").fill_(torch.rand(()).item())

    for device, message in (
        ("meta", "init: expected no number to be read off a tensor on the meta device; record with device="),
        ("cpu", "init: expected no number to be read off drawn values, which depend on the seed; use fastinit.keyed"),
    ):
        with pytest.raises(RuntimeError, match=message):
            fastinit.record(Model, init, device=device)
    found = []
    for seed, torchs in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(torchs)
        model = Model()
        with fastinit.keyed(model, seed=seed) as report:
            init(model)
        assert report["w"].role == "constant"
        found.append(model.w[0, 0].item())
    assert found[0] == found[1] != found[2]
