"""What a framework may do to a parameter's memory: each way is followed, or refused."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fastinit
from fastinit.law.distributions import Normal, TruncatedNormal
from fastinit.recipe.storages import Storages
from fastinit.recipe.values import Same, Unwritten

Body = Callable[[nn.Parameter], object]


class Model(nn.Module):
    """One parameter."""

    def __init__(self, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(4, 6, dtype=dtype, device=device))


def filled(body: Body, seed: int = 0) -> tuple[Tensor, Tensor]:
    """By a recipe, and live."""

    def init(model: nn.Module) -> None:
        with torch.no_grad():
            body(model.get_parameter("w"))

    one, two = Model(), Model()
    fastinit.init_model_(one, fastinit.record(Model(device="meta"), init), seed=seed)
    with fastinit.keyed(two, seed=seed):
        init(two)
    return one.w.detach(), two.w.detach()


def drawn(law: Callable[..., Tensor] = fastinit.normal_, **arguments: float) -> Tensor:
    """The parameter's own numbers."""
    return law(torch.empty(4, 6), **arguments, key=fastinit.Key.of("w", seed=0))


def own(value: Tensor, *, to: torch.dtype) -> Tensor:
    return torch.empty(4, 6, dtype=to).copy_(value)


EXACT: dict[str, tuple[Body, Callable[[], Tensor]]] = {
    "whole numbers are cut off": (
        lambda w: w.copy_(own(torch.rand(4, 6) * 10, to=torch.int32)),
        lambda: drawn(fastinit.uniform_, a=0.0, b=10.0).floor(),
    ),
    "whole numbers are filled": (
        lambda w: w.copy_(torch.empty(4, 6, dtype=torch.int64).fill_(2.7)),
        lambda: torch.full((4, 6), 2.0),
    ),
    "bytes wrap round": (
        lambda w: w.copy_(torch.full((4, 6), 3, dtype=torch.uint8) - 5),
        lambda: torch.full((4, 6), 254.0),
    ),
    "division that rounds": (
        lambda w: w.copy_(torch.full((4, 6), 7.0).div_(2, rounding_mode="floor")),
        lambda: torch.full((4, 6), 3.0),
    ),
    "an exponential": (
        lambda w: w.uniform_(-1, 0).exp_(),
        lambda: drawn(fastinit.uniform_, a=-1.0, b=0.0).double().exp().float(),
    ),
    "a reshaped transpose": (lambda w: w.copy_(torch.randn(6, 4).t().reshape(6, 4).reshape(4, 6)), drawn),
    "one after another": (
        lambda w: [w.zero_(), *(w.add_(torch.tensor([1.0] * 6)) for _ in range(400))],
        lambda: torch.full((4, 6), 400.0),
    ),
    "several at once": (lambda w: (w.fill_(3.0), torch._foreach_zero_([w, torch.ones(2)])), lambda: torch.zeros(4, 6)),
    "an identity": (lambda w: w.copy_(torch.randn(4, 6) @ torch.eye(6)), drawn),
    "a sign": (lambda w: w.normal_().mul_(-1), lambda: -drawn()),
}


@pytest.mark.parametrize("name", EXACT)
def test_what_is_written_is_followed(name: str) -> None:
    body, expected = EXACT[name]
    recorded, live = filled(body)
    assert torch.equal(recorded, live)
    assert torch.equal(recorded, expected())


REFUSED: dict[str, tuple[Body, str]] = {
    "bytes": (lambda w: (w.normal_(), w.view(torch.int32).fill_(1)), "its bytes were written as another dtype"),
    "some bytes": (lambda w: (w.normal_(), w.view(torch.int16)[0].fill_(1)), "its bytes were written as another dtype"),
    "memory": (lambda w: w.copy_(torch.empty(4, 6) * 2), "it is computed from memory that nothing wrote to"),
    "nothing": (lambda w: None, "did not write these 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused(name: str) -> None:
    body, message = REFUSED[name]
    model = Model()
    with pytest.raises(ValueError, match=message) as error:
        fastinit.record(lambda: Model(), lambda model: _run(body, model))
    assert "  w" in str(error.value)
    with pytest.raises(ValueError, match=message), fastinit.keyed(model):
        _run(body, model)


@pytest.mark.parametrize("reads", [False, True])
def test_a_list_as_an_index_is_told_from_memory_that_nothing_wrote_to(reads: bool) -> None:
    def init(model: nn.Module) -> None:
        weight = nn.init.normal_(model.get_parameter("w"))
        with torch.no_grad():
            if reads:
                weight.copy_(weight[[0, 2, 1, 3]])
            else:
                weight[[0, 2]] = 0.0

    with pytest.raises(ValueError, match=r"w: it is indexed by a list, .* index by a tensor"):
        fastinit.record(Model(device="meta"), init)


def _run(body: Body, model: nn.Module) -> None:
    with torch.no_grad():
        body(model.get_parameter("w"))


def test_inference_mode() -> None:
    """Where torch shows operators whole that it takes apart elsewhere."""

    def init(model: nn.Module) -> None:
        with torch.inference_mode():
            model.get_parameter("w").copy_(torch.randn(6, 4).t().reshape(4, 6).to(torch.float64) * 0.5)

    recipe = fastinit.record(Model(device="meta"), init)
    assert recipe["w"].tiles[0].law == Normal(0.0, 0.5)


def test_tensors_of_elsewhere_must_stay_what_they_were() -> None:
    model, other = Model(), torch.ones(4, 6)
    with fastinit.keyed(model), torch.no_grad():
        model.w.copy_(torch.randn(4, 6) + other)
    assert torch.equal(model.w, drawn() + other)
    changed = "a tensor of elsewhere that it is computed from was written to since"
    with pytest.raises(ValueError, match=changed), fastinit.keyed(model), torch.no_grad():
        _add_and_change(model.w, other)
    with pytest.raises(ValueError, match=changed), fastinit.keyed(model), torch.no_grad():
        model.w.add_(torch.randn(4, 6))  # which would be added twice


def _add_and_change(w: Tensor, other: Tensor) -> None:
    w.copy_(torch.randn(4, 6) + other)
    other.fill_(100.0)


def test_rows_of_what_was_loaded() -> None:
    """The rows that are not written stay, as when a vocabulary grows."""
    model = Model()
    model.w.data.fill_(7.0)
    with fastinit.keyed(model), torch.no_grad():
        model.w[2:].normal_()
        model.w[1].zero_()
    assert torch.equal(model.w[:2], torch.tensor([[7.0] * 6, [0.0] * 6]))
    assert torch.equal(model.w[2:], drawn()[2:])


def test_strict_names_copies_of_elsewhere() -> None:
    model, other = Model(), torch.ones(4, 6)
    with pytest.raises(ValueError, match=r"strict: .* w"), fastinit.keyed(model, strict=True), torch.no_grad():
        model.w.copy_(other)


def test_the_first_of_two_owns_what_they_share() -> None:
    """Also where the second was drawn into."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (nn.Parameter(torch.empty(4, 6)) for _ in range(2))

        def init_weights(self) -> None:
            with torch.no_grad():
                self.a.copy_(self.b.normal_())

    one, two = Two(), Two()
    fastinit.init_model_(one, fastinit.record(one), seed=0)
    with fastinit.keyed(two, seed=0) as report:
        two.init_weights()
    expected = fastinit.normal_(torch.empty(4, 6), key=fastinit.Key.of("a", seed=0))
    assert all(torch.equal(parameter, expected) for parameter in (one.a, one.b, two.a, two.b))
    assert report["b"].role == "shared"


def test_threads_leave_torch_as_it_was() -> None:
    """Two that overlap, the first to come being the first to go; a third is not affected."""
    import torch._dynamo.eval_frame as eval_frame

    hook, stance = nn.init._no_grad_trunc_normal_, eval_frame._stance
    first, second, left = threading.Event(), threading.Event(), threading.Event()
    models, faults = [Model(), Model()], []

    def work(model: Model, mine: threading.Event, other: threading.Event) -> None:
        try:
            if model is models[1]:
                first.wait(60)
            with fastinit.keyed(model):
                nn.init.trunc_normal_(model.w)
                mine.set()
                other.wait(60)
            left.set()
        except BaseException as error:
            faults.append(error)

    threads = [
        threading.Thread(target=work, args=(models[0], first, second)),
        threading.Thread(target=work, args=(models[1], second, left)),
    ]
    for thread in threads:
        thread.start()
    first.wait(60)
    one, two = torch.empty(4, 6), torch.empty(4, 6)
    nn.init.trunc_normal_(one, generator=torch.Generator().manual_seed(0))
    for thread in threads:
        thread.join()
    nn.init.trunc_normal_(two, generator=torch.Generator().manual_seed(0))
    assert not faults
    assert torch.equal(one, two)
    assert torch.equal(models[0].w, models[1].w)
    assert nn.init._no_grad_trunc_normal_ is hook
    assert eval_frame._stance == stance


def test_an_exception_restores_everything() -> None:
    before, state = dict(vars(nn.init)), torch.get_rng_state()
    model = Model()
    with pytest.raises(ZeroDivisionError), fastinit.keyed(model) as report:
        nn.init.normal_(model.w, std=1 / 0)
    with pytest.raises(RuntimeError, match="report: expected the context to have been left"):
        print(report)
    assert all(value is before[name] for name, value in vars(nn.init).items())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_truncated_normal_is_one_law() -> None:
    """torch draws it in a loop, which is not to be seen."""
    recipe = fastinit.record(Model(device="meta"), lambda model: nn.init.trunc_normal_(model.w, std=0.5))
    assert recipe["w"].tiles[0].law == TruncatedNormal(0.0, 0.5, -2.0, 2.0)


def test_an_address_that_is_used_again_is_another_storage() -> None:
    storages = Storages()
    for _ in range(64):
        written = torch.empty(4, device="meta")
        storages.write(written, Same(3.0))
        del written
        assert storages.read(torch.empty(4, device="meta")) == Unwritten()
