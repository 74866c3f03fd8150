"""What can fail is found before the first write: inference, shared memory, fake tensors, contexts that change a default."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import interpreted
import numpy as np
import pytest
import torch
from test_model import DIM, Model, assert_untouched, poisoned
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import fastinit
from fastinit import Key, LocalShard, foreach, foreach_fill_, init_linear, init_model_, op, verify_model_
from fastinit import backends as backends_of_fastinit
from fastinit.backends import llvm, reference
from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.transformed import Constant, InverseSoftplusOfLogUniform, LogOfUniform
from fastinit.model.filling import fill_law_
from fastinit.model.roles import Role

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


# --------------------------------------------------------------------------------------------------- inference tensors


@on_a_cpu
def test_a_model_that_was_built_under_inference_mode(backend: str) -> None:
    with torch.inference_mode():
        model = Model()
    with through(backend):
        init_model_(model, "llama", seed=5)
        assert verify_model_(model, "llama", seed=5)
    assert_filled(model)


@backends
@laws
def test_inference_tensors(backend: str, law: Any) -> None:
    with torch.inference_mode():
        tensor, linear = torch.empty(4, 3), nn.Linear(3, 3)
    with through(backend):
        same(fill_law_(tensor, law, key=KEY), fill_law_(torch.empty(4, 3), law, key=KEY))
        if isinstance(law, Normal):
            foreach_fill_([tensor], Uniform(), keys=[KEY])
            same(tensor, fastinit.uniform_(torch.empty(4, 3), key=KEY))
        init_linear(linear)
    assert not linear.bias.any()
    assert tensor.is_inference()


# ------------------------------------------------------------------------------------------- two tensors, one memory


def tied_by_storage(model: Any) -> None:
    model.output.weight = nn.Parameter(model.tok_embeddings.weight.data)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_parameters_that_are_the_same_elements_are_tied(device: str) -> None:
    with torch.device(device):
        model = poisoned(Model())
        tied_by_storage(model)
    assert model.output.weight is not model.tok_embeddings.weight
    report = init_model_(model, "llama", seed=5, device="cpu")
    row = report["output.weight"]
    assert (row.name, row.tied, row.role) == ("tok_embeddings.weight", ("output.weight",), Role.EMBEDDING.value)
    assert model.output.weight.data_ptr() == model.tok_embeddings.weight.data_ptr()
    same(model.output.weight.detach(), filled().tok_embeddings.weight.detach())
    assert verify_model_(model, "llama", seed=5)


def overlapping_rows(model: Any) -> None:
    memory = torch.full((33, DIM), float("nan"))
    model.tok_embeddings.weight, model.output.weight = nn.Parameter(memory[:32]), nn.Parameter(memory[1:])


def transposed(model: Any) -> None:
    attention = model.layers["0"].attention
    attention.wq.weight = nn.Parameter(attention.wo.weight.data.T)


def of_another_dtype(model: Any) -> None:
    model.output.weight = nn.Parameter(model.tok_embeddings.weight.data.view(torch.bfloat16)[:, :DIM])


def norms_in_a_matrix(model: Any) -> None:
    model.norm.weight = nn.Parameter(model.output.weight.data[3])


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("change", "one", "other"),
    [
        (overlapping_rows, "tok_embeddings.weight", "output.weight"),
        (transposed, "layers.0.attention.wq.weight", "layers.0.attention.wo.weight"),
        (of_another_dtype, "tok_embeddings.weight", "output.weight"),
        (norms_in_a_matrix, "norm.weight", "output.weight"),
    ],
)
def test_parameters_that_overlap_are_refused(device: str, change: Callable[[Any], None], one: str, other: str) -> None:
    with torch.device(device):
        model = Model()
        change(model)
    model = poisoned(model)
    with pytest.raises(ValueError, match=f"got some that {one} and {other} both have"):
        init_model_(model, "llama", device="cpu")
    assert_untouched(model)
    if device == "meta":
        assert all(parameter.is_meta for parameter in model.parameters())


def test_parameters_that_are_parts_of_one_memory_are_filled() -> None:
    """A flat buffer, and halves of the columns of a matrix."""
    model = Model()
    buffer = torch.full((sum(p.numel() for p in model.parameters()),), float("nan"))
    wide = torch.full((DIM, 2 * DIM), float("nan"))
    offset = 0
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            view = buffer[offset : offset + parameter.numel()].view(parameter.shape)
            setattr(module, name, nn.Parameter(view))
            offset += parameter.numel()
    attention = model.layers["0"].attention
    attention.wq.weight, attention.wo.weight = nn.Parameter(wide[:, ::2]), nn.Parameter(wide[:, 1::2])
    init_model_(model, "llama", seed=5)
    assert_filled(model)


KEPT: dict[str, Callable[[Tensor], Tensor]] = {
    "of another shape": lambda weight: weight.view(-1),
    "in part": lambda weight: weight[3:5],
    "transposed": lambda weight: weight.T,
    "of another dtype": lambda weight: weight.view(torch.int32),
}


@pytest.mark.parametrize("case", KEPT)
@pytest.mark.parametrize("others", [0, 40])
def test_an_untouched_parameter_is_not_written_through_another_one(case: str, others: int) -> None:
    model = Model()
    for k in range(others):
        model.register_parameter(f"other{k}", nn.Parameter(model.output.weight.data.view(-1)[k : k + 9]))
    model.kept = nn.Parameter(KEPT[case](model.output.weight.data), requires_grad=False)
    with pytest.raises(ValueError, match=r"got some that (kept|other0) and output\.weight both have"):
        init_model_(poisoned(model), "llama", seed=5, roles=[("{kept,other*}", Role.UNTOUCHED)])
    assert_untouched(model)


def test_untouched_parameters_may_overlap_each_other() -> None:
    model = Model()
    memory = torch.full((40, 5), 7.0)
    views = [memory, memory.view(-1), memory.T, memory[3], *memory.view(-1).split(7)]
    for k, view in enumerate(views):
        model.register_parameter(f"kept{k}", nn.Parameter(view))
    init_model_(model, "llama", seed=5, roles=[("kept*", Role.UNTOUCHED)])
    assert (memory == 7).all()
    same(model.output.weight.detach(), filled().output.weight.detach())


SHARED: dict[str, Callable[[Tensor], list[Tensor]]] = {
    "twice": lambda m: [m, m],
    "a view of the whole": lambda m: [m, m.view(-1)],
    "a row of it": lambda m: [m[3], m],
    "transposed": lambda m: [m, m.T],
    "neighbours of a row": lambda m: [m[:5], m[4:]],
    "columns": lambda m: [m[:, :4], m[:, 3:]],
    "bits": lambda m: [m, m.view(torch.bfloat16)[:, :2]],
}


@pytest.mark.parametrize("case", SHARED)
@pytest.mark.parametrize("others", [0, 40])
def test_lists_that_share_memory_are_refused(case: str, others: int) -> None:
    matrix = torch.full((8, 8), 7.0)
    tensors = [*torch.full((others, 3), 7.0), *SHARED[case](matrix)]
    with pytest.raises(
        ValueError,
        match=rf"^tensors\[{others + 1}\]: expected memory of its own, got some that tensors\[{others}\] has",
    ):
        foreach_fill_(tensors, Normal(), keys=[KEY] * len(tensors))
    assert (matrix == 7).all()


@on_a_cpu
def test_lists_of_views_that_interleave_are_filled(backend: str) -> None:
    matrix = torch.empty(12, 40)
    views = [matrix[:6, ::2], matrix[:6, 1::2], *matrix[6:].split(2, dim=1), matrix[:0], matrix[:0]]
    keys = [Key(k) for k in range(len(views))]
    with through(backend):
        foreach_fill_(views, Normal(), keys=keys)
    for view, key in zip(views, keys, strict=True):
        same(view, fastinit.normal_(torch.empty(view.shape), key=key))


class Raising(Tensor):
    """A class whose operators all raise, like one that somebody has not finished."""

    elem: Tensor

    @staticmethod
    def __new__(cls, elem: Tensor) -> "Raising":
        made = Tensor._make_wrapper_subclass(cls, elem.shape, dtype=elem.dtype, device=elem.device)  # type: ignore[attr-defined]
        made.elem = elem
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return cls(args[0].elem)
        raise NotImplementedError(f"no {func}")


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_class_whose_operators_raise_leaves_a_list_as_it_was(position: int) -> None:
    tensors = [torch.full((3,), 7.0), torch.full((3,), 7.0)]
    listed = [*tensors]
    listed.insert(position, Raising(torch.empty(3)))
    with pytest.raises(NotImplementedError, match=r"no fastinit\.fill_"):
        foreach_fill_(listed, Normal(), keys=[KEY] * 3)
    assert all((tensor == 7).all() for tensor in tensors)


@pytest.mark.parametrize("name", ["norm", "output"])
def test_a_class_whose_operators_raise_leaves_a_model_as_it_was(name: str) -> None:
    """A constant, and a random law."""
    model = poisoned(Model())
    part = model.get_submodule(name)
    shape = part.weight.shape  # type: ignore[union-attr]
    part.weight = nn.Parameter(Raising(torch.empty(shape)))  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match=r"no (fastinit\.fill_|aten\.fill_)"):
        init_model_(model, "llama")
    part.weight = nn.Parameter(torch.full(shape, float("nan")))  # type: ignore[arg-type]
    assert_untouched(model)


def test_an_interrupt_leaves_the_collector_on() -> None:
    disable = gc.disable

    def interrupted() -> None:
        disable()
        raise KeyboardInterrupt

    with mock.patch.object(gc, "disable", interrupted), pytest.raises(KeyboardInterrupt):
        backends_of_fastinit.get("reference")
    assert gc.isenabled()


def test_a_device_that_nothing_serves_is_refused_before_the_others_are_filled() -> None:
    tensors = [torch.full((3,), 7.0), torch.full((3,), 7.0)]

    def backend_for(device_type: str) -> Any:
        calls.append(device_type)
        if len(calls) == 2:
            raise NotImplementedError("no such device")
        return llvm

    calls: list[str] = []
    described = foreach.described

    def on_two_devices(*lists: Any) -> Any:
        ((device, plain, fills),) = described(*lists)
        return [(device, plain[k : k + 1], fills.of(np.array([k]))) for k in range(2)]

    with (
        mock.patch.object(foreach, "backend_for", backend_for),
        mock.patch.object(foreach, "described", on_two_devices),
        pytest.raises(NotImplementedError),
    ):
        foreach_fill_(tensors, Normal(), keys=[KEY, KEY])
    assert all((tensor == 7).all() for tensor in tensors)


# ------------------------------------------------------------------------------------- fake tensors, defaults elsewhere


@fills
@pytest.mark.parametrize("given", [None, 3])
def test_fake_tensors_need_no_key(fill_: Callable[..., Tensor], given: int | None) -> None:
    generator = None if given is None else torch.Generator().manual_seed(given)
    state = (generator or torch.default_generator).get_state()
    with FakeTensorMode():
        fake = torch.empty(4, 5)
        assert fill_(fake, generator=generator) is fake
    assert fill_(fake, generator=generator) is fake
    assert (generator or torch.default_generator).get_state().tolist() == state.tolist()


@laws
@pytest.mark.parametrize("kind", ["meta", "fake"])
def test_every_law_leaves_tensors_without_memory_alone(law: Any, kind: str) -> None:
    state = torch.get_rng_state()
    with FakeTensorMode() if kind == "fake" else torch.device("meta"):
        tensor = torch.empty(4)
        assert fill_law_(tensor, law) is tensor
    assert fill_law_(tensor, law, key=KEY) is tensor
    assert torch.get_rng_state().tolist() == state.tolist()


def test_a_trace_does_not_lose_a_fill() -> None:
    """Without a key it cannot be written down, and with one it is."""
    traced = make_fx(lambda tensor: fastinit.normal_(tensor, key=KEY), tracing_mode="fake")(torch.empty(4))
    assert "fastinit.fill_" in traced.code
    with pytest.raises(Exception, match=r"data|proxy|fake"):
        make_fx(lambda tensor: fastinit.normal_(tensor), tracing_mode="fake")(torch.empty(4))


def test_a_fake_model() -> None:
    with FakeTensorMode():
        model = Model()
        report = init_model_(model, "llama", seed=5)
        assert [row.law for row in report.rows] == [row.law for row in init_model_(Model(), "llama", seed=5).rows]
    with pytest.raises(ValueError, match=r"got fake parameters: tok_embeddings.weight, "):
        verify_model_(model, "llama", seed=5)


@contextmanager
def default_of_meta() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@on_a_cpu
@pytest.mark.parametrize("context", [lambda: torch.device("meta"), default_of_meta], ids=["context", "default"])
def test_a_default_device_elsewhere_changes_nothing(backend: str, context: Callable[[], Any]) -> None:
    kinds = [TruncatedNormal(0.0, s, a, b) for s, a, b in ((1.0, -3.0, 3.0), (1.0, -6.0, 6.0), (1.0, -1.0, 6.0))]
    kinds += [
        TruncatedNormal(0.0, 1.0, 6.0, 8.0),
        TruncatedNormal(0.0, 1.0, -0.1, 0.1),
        TruncatedNormal(0.0, 0.0, 0, 1),
    ]
    every = [*LAWS, *kinds]
    expected = [fill_law_(torch.empty(70, 3), law, key=KEY) for law in every]
    tensors = [torch.empty(70, 3) for _ in every]
    transposed = torch.empty(3, 70).T
    model = Model()
    with through(backend), context():
        for tensor, law in zip(tensors, every, strict=True):
            fill_law_(tensor, law, key=KEY)
        fastinit.normal_(transposed, key=KEY)
        init_model_(model, "llama", seed=5)
        assert verify_model_(model, "llama", seed=5)
    for tensor, truth in zip(tensors, expected, strict=True):
        same(tensor, truth)
    same(transposed, fastinit.normal_(torch.empty(70, 3), key=KEY))
    assert_filled(model)


@fills
def test_a_default_device_elsewhere_and_no_key(fill_: Callable[..., Tensor]) -> None:
    torch.manual_seed(3)
    expected = fill_(torch.empty(5))
    tensor = torch.empty(5)
    torch.manual_seed(3)
    with torch.device("meta"):
        fill_(tensor)
    same(tensor, expected)


# ----------------------------------------------------------------------------------------------- arguments that are none


def nested() -> Tensor:
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


def negated() -> Tensor:
    return torch.complex(torch.ones(3), torch.ones(3)).conj().imag


def freed() -> Tensor:
    tensor = torch.empty(3)
    tensor.untyped_storage().resize_(0)
    return tensor


class Own(Tensor):
    """A class of somebody's own that leaves operators alone."""


def cut(tensor: Tensor) -> Tensor:
    """As large as before by its shape, in a storage that is not."""
    tensor.untyped_storage().resize_(8)
    return tensor


UNFIT: dict[str, tuple[Callable[[], Tensor], type[Exception], str]] = {
    "nested": (nested, TypeError, r"expected a dense \(strided\) tensor, got a nested one"),
    "lazy": (lambda: nn.LazyLinear(3).weight, TypeError, "[Ll]azy"),
    "negated": (negated, ValueError, r"is_neg\(\)"),
    "freed": (freed, ValueError, "expected memory for 3 elements, got none"),
    "cut": (lambda: cut(torch.empty(3)), ValueError, "expected a storage of at least 12 bytes, got one of 8"),
    "cut columns": (lambda: cut(torch.empty(2, 3)[:, 1]), ValueError, "storage of at least 20 bytes, got one of 8"),
    "cut, of a class": (
        lambda: cut(torch.empty(3).as_subclass(Own)),
        ValueError,
        "storage of at least 12 bytes, got one of 8",
    ),
    "zeros": (lambda: torch._efficientzerotensor(3), ValueError, "expected memory for 3 elements, got none"),
    "sparse": (lambda: torch.ones(3).to_sparse(), TypeError, "expected a dense .* got layout torch.sparse_coo"),
}


@pytest.mark.parametrize("case", UNFIT)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:Lazy modules")
def test_tensors_that_cannot_be_filled(case: str) -> None:
    make, error, message = UNFIT[case]
    with pytest.raises(error, match=f"^tensor: .*{message}"):
        fastinit.normal_(make())
    for position in (0, 1):  # the first of its kind is checked by itself
        before = torch.full((3,), 7.0)
        tensors = [before, torch.full((3,), 7.0)]
        tensors.insert(position, make())
        with pytest.raises(error, match=rf"^tensors\[{position}\]: .*{message}"):
            foreach_fill_(tensors, Normal(), keys=[KEY] * 3)
        assert (before == 7).all()
    model = poisoned(Model())
    model.norm.weight = nn.Parameter(make()) if case != "lazy" else make()
    before = model.output.weight.detach().clone()
    with pytest.raises(error, match=message) as raised:
        init_model_(model, "llama")
    assert "norm.weight" in str(raised.value)
    assert model.output.weight.isnan().all()


def test_parameters_without_memory_are_not_one() -> None:
    """What has no address is not where the other one is."""
    model = Model()
    model.one, model.other = nn.Parameter(freed()), nn.Parameter(freed())
    rows = init_model_(model, "llama", roles=[("{one,other}", Role.UNTOUCHED)]).rows
    assert [(row.name, row.tied) for row in rows[:2]] == [("one", ()), ("other", ())]


NAMED: dict[str, list[Any]] = {
    "std": [None, "x", -1, float("nan"), float("inf")],
    "embedding_std": ["x", -1, float("nan"), float("inf")],
    "d_model": ["8", [8], 10**400],
    "num_blocks": ["a", torch.tensor([1, 2]), float("inf")],
    "embed_scale": ["a", 0, -1.0, float("inf"), float("nan")],
    "roles": [None, 3, [1], [("a",)], {"a": Role.NORM}, ("a", Role.NORM), [("a", Role.NORM, 3)], "a"],
    "shards": [3, [1], {"norm.weight": 3}, {3: LocalShard((8,), (0,))}],
    "device": ["foo", 3.5],
}


@pytest.mark.parametrize("method", ["normal", "fan_in"])
@pytest.mark.parametrize("name", NAMED)
def test_what_a_model_cannot_be_filled_by_is_named(name: str, method: str) -> None:
    """Whether or not the method asks for it."""
    model = poisoned(Model())
    for value in NAMED[name]:
        with pytest.raises((TypeError, ValueError), match=f"^{name}: expected "):
            init_model_(model, method, **{name: value})
    assert_untouched(model)


@pytest.mark.parametrize("size", [np.int64(DIM), torch.tensor(DIM), float(DIM)])
def test_sizes_of_all_kinds(size: Any) -> None:
    assert init_model_(Model(), "llama", d_model=size).rows == init_model_(Model(), "llama", d_model=DIM).rows


@pytest.mark.parametrize(
    ("name", "given"),
    [("tensors", None), ("laws", None), ("laws", 3), ("keys", None), ("keys", KEY), ("shards", 3)],
)
def test_what_is_no_list_is_named(name: str, given: Any) -> None:
    tensor = torch.full((3,), 7.0)
    arguments = dict(tensors=[tensor], laws=Normal(), keys=[KEY]) | {name: given}
    with pytest.raises(TypeError, match=f"^{name}: expected a list, got "):
        foreach_fill_(**arguments)
    assert (tensor == 7).all()


@pytest.mark.parametrize("scale", [0, -1.0, float("inf"), float("nan")])
def test_a_scale_that_cannot_be_divided_by_is_refused(scale: float) -> None:
    module = poisoned(nn.Embedding(3, 4))
    with pytest.raises(ValueError, match=r"^embed_scale: expected a finite number > 0, got "):
        fastinit.InitMethod.fan_in.init_embeddings(module, d_model=4, embed_scale=scale)
    model = poisoned(Model())
    model.embed_scale = scale  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"^embed_scale: expected a finite number > 0 from Model.embed_scale"):
        init_model_(model, "fan_in")
    assert_untouched(module)
    assert_untouched(model)


@pytest.mark.parametrize("shape", [8, (8.0,), None, "ab"])
def test_shapes_of_whole_numbers(shape: Any) -> None:
    with pytest.raises(TypeError, match=r"^global_shape: expected a tuple of whole numbers, got "):
        LocalShard(shape, (0,))
    with pytest.raises(TypeError, match=r"^global_offset: expected a tuple of whole numbers, got "):
        LocalShard((8,), shape)


@pytest.mark.parametrize(("vocab", "size", "multiple"), [(8, 0, 128), (8, 1, 0), (-8, 1, 128), (8, -1, 128)])
def test_vocabularies_that_cannot_be_split(vocab: int, size: int, multiple: int) -> None:
    with pytest.raises(ValueError, match=r"^vocab, size, multiple: expected numbers >= 0, 1 and 1, got "):
        LocalShard.vocab_parallel(vocab, 8, 0, size, multiple=multiple)


@pytest.mark.parametrize("function", [init_model_, verify_model_])
def test_what_is_no_model(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"^model: expected a torch\.nn\.Module, got list"):
        function([1], "llama")


@pytest.mark.parametrize("name", [None, b"x", 3])
def test_names_are_text(name: Any) -> None:
    with pytest.raises(TypeError, match=r"^name: expected a parameter's name, a str, got "):
        Key.of(name)


@pytest.mark.parametrize("five", [np.int64(5), np.uint8(5), torch.tensor(5), np.array(5)])
def test_integers_of_all_kinds(five: Any) -> None:
    key = Key(five, stream=five)
    assert key == Key(5, 5)
    assert (type(key.seed), type(key.stream)) == (int, int)
    assert Key.of("w", seed=five) == Key.of("w", seed=5)
    model = Model()
    report = init_model_(model, "llama", seed=five)
    assert report.to_json() == init_model_(Model(), "llama", seed=5).to_json()
    assert verify_model_(model, "llama", seed=five)


@pytest.mark.parametrize(
    "wrong", [True, np.True_, torch.tensor(True), 5.0, np.float64(5), torch.tensor(5.0), "5", None]
)
def test_what_is_no_integer(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^seed: expected an int in \[0, 2\*\*64\), got "):
        Key(wrong)
    with pytest.raises(TypeError, match=r"^stream: expected an int in"):
        Key(0, wrong)


# ---------------------------------------------------------------------------------------- weights that are no parameters


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated", "ignore:.*deprecated")
def test_packed_weights_are_counted() -> None:
    model = Model()
    model.layers["0"] = torch.ao.quantization.quantize_dynamic(model.layers["0"], {nn.Linear})
    report = init_model_(model, "llama", seed=5)
    names = tuple(f"layers.0.{part}._packed_params" for part in PACKED)
    assert report.packed == names
    line = f"7 modules hold weights that are no parameters, left as they are: {', '.join(names[:4])}, 3 more"
    assert str(report).splitlines()[-1] == line
    found = verify_model_(model, "llama", seed=5)
    assert found.packed == names
    assert str(found).splitlines()[-1] == line.replace("left as they are", "not compared")


PACKED = [
    *(f"attention.{name}" for name in ("wq", "wk", "wv", "wo")),
    *(f"feed_forward.{name}" for name in ("w1", "w2", "w3")),
]


def test_a_module_without_parameters_is_filled_by_doing_nothing() -> None:
    """A pipeline stage may have none; its rank runs the same lines."""
    assert init_model_(nn.ReLU(), "llama").rows == ()
    assert str(verify_model_(nn.ReLU(), "llama")) == "no parameter was compared, as there is none"


ADVICE = {
    "parametrizations": (
        lambda m: nn.utils.parametrizations.weight_norm(m.output), "remove_parametrizations",
    ),
    "flat": (lambda m: m.register_parameter("_flat_param", nn.Parameter(torch.empty(3))), "use_orig_params=True"),
    "adapter": (lambda m: m.add_module("lora_A", nn.Linear(3, 3)), "fill the base model before its adapters"),
    "weight norm": (lambda m: m.register_parameter("weight_g", nn.Parameter(torch.empty(3))), "remove_weight_norm"),
}  # fmt: skip


@pytest.mark.parametrize("case", ADVICE)
def test_names_that_tell_what_to_do(case: str) -> None:
    change, advice = ADVICE[case]
    model = Model()
    change(model)
    with pytest.raises(ValueError, match=rf"roles: expected a pattern for every parameter, .*; .*{advice}.*:\n  "):
        init_model_(poisoned(model), "llama")
    assert_untouched(model)
