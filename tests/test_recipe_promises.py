"""What a recipe promises: the law from the framework, the bits from fastinit, and nothing else touched."""

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._dynamo.eval_frame as eval_frame
from laws import assert_same_bits
from torch import Tensor, nn
from torch.nn.utils import parametrizations, weight_norm

import fastinit
from fastinit.law.distributions import Normal, Uniform

SEED = 3
Init = Callable[[Any], object]


class Model(nn.Module):
    """One parameter."""

    def __init__(self, *shape: int, device: str = "cpu") -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full(shape or (4, 6), torch.nan, device=device))


class Pair(nn.Module):
    """Two."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Model(), Model()


class Network(nn.Module):
    """All of it: experts one by one, fused projections, a padding row, a bias by parts, A_log, a tied head, a buffer, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 4, padding_idx=2)
        self.experts = nn.Parameter(torch.empty(3, 4, 6))
        self.qkv = nn.Linear(4, 12)
        self.A_log = nn.Parameter(torch.empty(4))
        self.dt_bias = nn.Parameter(torch.empty(6))
        self.router = nn.Parameter(torch.empty(6, 4))
        self.frozen = nn.Parameter(torch.empty(3))
        self.head = nn.Linear(4, 8, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("noise", torch.zeros(5))
        self.dropout = nn.Dropout(0.5)
        self.init_states()

    def init_states(self) -> None:
        with torch.no_grad():
            self.embed.reset_parameters()
            for k, expert in enumerate(self.experts):
                nn.init.trunc_normal_(expert, std=0.1 * (k + 1))
            for part, std in zip(self.qkv.weight.chunk(3), (0.1, 0.2, 0.3), strict=True):
                part.normal_(std=std)
            self.qkv.bias.zero_()
            self.qkv.bias[4:8].uniform_(-1, 1)
            self.A_log.copy_(torch.log(torch.arange(1, 5).float()))
            step = torch.exp(torch.rand(6) * 2 - 4).clamp(min=1e-2)
            self.dt_bias.copy_(step + torch.log(-torch.expm1(-step)))
            nn.init.orthogonal_(self.router)
            self.frozen.fill_(2.0)
            self.noise.normal_()
            self.dropout(torch.ones(9))


def recorded(make: Callable[[], nn.Module], init: Init | None = None, seed: int = SEED) -> nn.Module:
    """A model that is filled by a recipe, from NaN."""
    recipe, model = fastinit.record(make, init), make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    fastinit.init_model_(model, recipe, seed=seed)
    return model


def live(init: Init, seed: int = SEED) -> Tensor:
    """The parameter of a model, filled as it is initialised."""
    model = Model()
    with fastinit.keyed(model, seed=seed), torch.no_grad():
        init(model)
    return model.w.detach()


def own(name: str, *shape: int, seed: int = SEED, std: float = 1.0) -> Tensor:
    """A parameter's own numbers."""
    return fastinit.normal_(torch.empty(shape or (4, 6)), std=std, key=fastinit.Key.of(name, seed=seed))


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters(remove_duplicate=False)}


def assert_same_models(one: nn.Module, two: nn.Module) -> None:
    found, expected = weights(one), weights(two)
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        assert bool(weight.isfinite().all()), name
        assert_same_bits(weight, expected[name])


def test_recorded_is_keyed_is_built() -> None:
    built, _ = fastinit.build(Network, seed=SEED)
    model = Network()
    with fastinit.keyed(model, seed=SEED) as report:
        model.init_states()
    assert_same_models(recorded(Network), built)
    assert_same_models(model, built)
    assert fastinit.verify_model_(model, fastinit.record(Network), seed=SEED)
    assert {row.name: row.role for row in report.rows} == {
        "embed.weight": "laws by box",
        "experts": "laws by box",
        "qkv.weight": "laws by box",
        "qkv.bias": "laws by box",
        "A_log": "derived",
        "dt_bias": "law",
        "router": "derived",
        "frozen": "constant",
    }
    assert report["embed.weight"].tied == ("head.weight",)


HISTORIES: dict[str, Init] = {
    "once": lambda model: model.w.normal_(std=0.5),
    "twice": lambda model: (model.w.normal_(std=0.5), model.w.normal_(std=0.5)),
    "after another law": lambda model: (model.w.uniform_(), model.w.normal_(std=0.5)),
    "after parts": lambda model: (model.w[1].uniform_(), model.w[:, 2].zero_(), model.w.normal_(std=0.5)),
    "after others drew": lambda model: (torch.randn(5), torch.empty(7).normal_(), model.w.normal_(std=0.5)),
    "through a temporary": lambda model: model.w.copy_(torch.randn(4, 6) * 0.5),
    "by another generator": lambda model: model.w.normal_(std=0.5, generator=torch.Generator().manual_seed(9)),
    "by the data": lambda model: model.w.data.normal_(std=0.5),
    "in a new memory": lambda model: setattr(model, "w", nn.Parameter(torch.randn(4, 6) * 0.5)),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_the_last_full_fill_wins(name: str) -> None:
    init = HISTORIES[name]
    expected = own("w", std=0.5)
    assert_same_bits(live(init), expected)

    def replay(model: nn.Module) -> None:
        with torch.no_grad():
            init(model)

    assert_same_bits(weights(recorded(Model, replay))["w"], expected)
    assert_same_bits(weights(recorded(lambda: Model(device="cpu"), replay))["w"], expected)


def test_the_order_of_parameters_has_no_part() -> None:
    def init(model: Pair) -> None:
        for each in (model.b, model.a):
            nn.init.normal_(each.w)

    one, two = Pair(), recorded(Pair, lambda model: (nn.init.normal_(model.a.w), nn.init.normal_(model.b.w)))
    with fastinit.keyed(one, seed=SEED):
        init(one)
    assert_same_models(one, two)
    assert_same_bits(one.b.w.detach(), own("b.w"))


PARTS: dict[str, Init] = {
    "whole": lambda model: model.w.normal_(),
    "rows": lambda model: [row.normal_() for row in model.w],
    "chunks": lambda model: [part.normal_() for part in model.w.chunk(3, dim=1)],
    "experts": lambda model: [expert.normal_() for expert in model.w.view(2, 2, 6)],
    "transposed": lambda model: model.w.t().normal_(),
    "flattened": lambda model: model.w.view(-1).normal_(),
    "flattened by parts": lambda model: [part.normal_() for part in model.w.view(-1).split(7)],
    "every second column": lambda model: [model.w[:, k::2].normal_() for k in range(2)],
}


@pytest.mark.parametrize("name", PARTS)
def test_by_parts_is_whole(name: str) -> None:
    def init(model: nn.Module) -> None:
        with torch.no_grad():
            PARTS[name](model)

    recipe = fastinit.record(Model(device="meta"), init)
    assert [(tile.law, tile.source) for tile in recipe["w"].tiles] == [(Normal(0.0, 1.0), "w")]
    assert_same_bits(live(PARTS[name]), own("w"))
    assert_same_bits(weights(recorded(Model, init))["w"], own("w"))


def test_by_more_parts_than_are_kept_is_whole() -> None:
    """Each view is some 5 000 boxes: what is computed has the numbers of the parameter by its own index, too."""

    def init(model: nn.Module) -> None:
        with torch.no_grad():
            model.w.zero_()
            for k in range(2):
                model.w.view(-1)[k::2].normal_()

    recipe, model, live = fastinit.record(Model(99, 101, device="meta"), init), Model(99, 101), Model(99, 101)
    assert recipe["w"].kind == "derived"
    fastinit.init_model_(model, recipe, seed=SEED)
    with fastinit.keyed(live, seed=SEED):
        init(live)
    for each in (model, live):
        assert_same_bits(each.w.detach(), own("w", 99, 101))


def test_the_leaves_of_what_is_computed_are_numbered() -> None:
    """The first has the parameter's name."""
    found = live(lambda model: model.w.copy_(torch.randn(4, 6) * torch.randn(4, 6) + torch.randn(6).abs()))
    numbers = [own(name, *shape).double() for name, shape in (("w", (4, 6)), ("w#1", (4, 6)), ("w#2", (6,)))]
    assert_same_bits(found, (numbers[0] * numbers[1] + numbers[2].abs()).float())


# torch 2.13 deprecates the old weight_norm in favour of the parametrization; models use it all the same.
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("make", "g", "v"),
    [
        (lambda: weight_norm(nn.Linear(8, 4)), "weight_g", "weight_v"),
        (
            lambda: parametrizations.weight_norm(nn.Linear(8, 4)),
            "parametrizations.weight.original0",
            "parametrizations.weight.original1",
        ),
    ],
    ids=["old", "parametrized"],
)
def test_the_norm_of_a_weight_is_of_the_weight_that_is_filled(make: Callable[[], nn.Module], g: str, v: str) -> None:
    built, report = fastinit.build(make, seed=SEED)
    for model in (built, recorded(make)):
        weight = model.get_parameter(v).detach()
        assert_same_bits(weight, fastinit.uniform_(torch.empty(4, 8), *_bounds(8), key=fastinit.Key.of(v, seed=SEED)))
        assert_same_bits(model.get_parameter(g).detach(), torch.norm_except_dim(weight.double(), 2, 0).float())
    assert report[g].note == f"derived from {v}"
    assert f"derived from {v}" in str(report)


def _bounds(fan: int) -> tuple[float, float]:
    law = fastinit.record(lambda: nn.Linear(fan, 4))["weight"].tiles[0].law
    assert isinstance(law, Uniform)
    return law.a, law.b


def test_copies_of_layers_share_their_values() -> None:
    """nn.TransformerEncoder copies one layer. Only what it draws anew is a layer's own."""

    def make() -> nn.Module:
        return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 3, enable_nested_tensor=False)

    recipe, model = fastinit.record(make), make()
    filled = fastinit.init_model_(model, recipe, seed=SEED)
    built, report = fastinit.build(make, seed=SEED)
    note = "shares layers.0.linear1.weight's values"
    for rows in (filled, report):
        assert (rows["layers.2.linear1.weight"].role, rows["layers.2.linear1.weight"].note) == ("shared", note)
        assert rows["layers.0.linear1.weight"].note == ""
        assert str(rows).count(note) == 2
    assert note in str(recipe)
    assert_same_models(model, built)
    assert_same_bits(model.layers[0].linear1.weight, model.layers[2].linear1.weight)


def test_tied_weights_are_filled_once() -> None:
    def make() -> nn.Module:
        model = nn.ModuleDict({"embed": nn.Embedding(8, 4), "head": nn.Linear(4, 8, bias=False)})
        model["head"].weight = model["embed"].weight
        return model

    model, report = fastinit.build(make, seed=SEED)
    assert [(row.name, row.tied) for row in report.rows] == [("embed.weight", ("head.weight",))]
    assert model["head"].weight is model["embed"].weight
    assert_same_bits(model["embed"].weight.detach(), own("embed.weight", 8, 4))


def test_no_generator_moves() -> None:
    """Neither torch's nor one that is given; but for what no parameter has a part in."""
    given = torch.Generator().manual_seed(1)

    def init(model: Model) -> None:
        nn.init.trunc_normal_(model.w, generator=given)
        nn.init.orthogonal_(model.w, generator=given)
        nn.init.normal_(model.w, generator=given)
        with torch.no_grad():
            model.w.copy_(torch.rand(4, 6, generator=given))

    before = torch.get_rng_state(), given.get_state()
    live(init)
    recorded(Model, init)
    assert_same_bits(torch.get_rng_state(), before[0])
    assert_same_bits(given.get_state(), before[1])


def test_what_the_framework_skips_is_reported_as_loaded() -> None:
    model = nn.ModuleDict({name: Model() for name in ("marked", "frozen", "new")})
    for each in model.values():
        each.w.data.fill_(7.0)
    model["marked"].w._is_hf_initialized = True
    model["frozen"].w.requires_grad_(False)
    with fastinit.keyed(model, seed=SEED) as report:
        nn.init.normal_(model["new"].w)
    assert {row.name: row.role for row in report.rows} == {"marked.w": "loaded", "frozen.w": "loaded", "new.w": "law"}
    assert str(report).count("loaded  untouched") == 2
    assert all(bool((model[name].w == 7).all()) for name in ("marked", "frozen"))
    with fastinit.keyed(model, seed=SEED) as report:  # what is written all the same is filled
        for each in model.values():
            nn.init.normal_(each.w)
    assert {row.role for row in report.rows} == {"law"}


def test_kept_names_what_stays() -> None:
    model = Pair()
    model.a.w.data.fill_(7.0)
    with fastinit.keyed(model, seed=SEED, kept=["a.*"]) as report:
        nn.init.normal_(model.b.w)
    recipe = fastinit.record(model, lambda made: nn.init.normal_(made.b.w), kept=["a.*"])
    assert (report["a.w"].role, recipe["a.w"].kind, recipe["b.w"].kind) == ("kept", "kept", "law")
    fastinit.init_model_(model, recipe, seed=SEED)
    assert bool((model.a.w == 7).all())


def test_buffers_and_dropout_are_torchs_own_and_listed() -> None:
    model = Network()
    lines = []
    for state in (1, 1, 2):
        torch.manual_seed(state)
        with fastinit.keyed(model, seed=SEED) as report:
            model.init_states()
        lines.append(str(report).splitlines()[-2:])
    assert lines[0] == [
        "aten.bernoulli_.float drew 1 times from torch's generators",
        "buffers hold drawn numbers, which depend on the order of the draws: noise",
    ]
    model.noise.fill_(5.0)
    report = fastinit.init_model_(model, fastinit.record(Network), seed=SEED)
    assert bool((model.noise == 5).all())


def test_another_thread_sees_torch_as_it_is() -> None:
    """Also while it initialises the same model's twin by torch."""
    entered, left, found = threading.Event(), threading.Event(), []

    def other() -> None:
        entered.wait(60)
        found.append(nn.init.trunc_normal_(torch.empty(4, 6), generator=torch.Generator().manual_seed(0)))
        found.append(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
        left.set()

    thread = threading.Thread(target=other)
    thread.start()
    model = Model()
    with fastinit.keyed(model, seed=SEED):
        entered.set()
        left.wait(60)
        nn.init.normal_(model.w)
    thread.join()
    assert_same_bits(found[0], nn.init.trunc_normal_(torch.empty(4, 6), generator=torch.Generator().manual_seed(0)))
    assert_same_bits(found[1], torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
    assert_same_bits(model.w.detach(), own("w"))


def test_of_two_that_record_the_first_may_end_first() -> None:
    """Both have their own numbers, the hook stays for the second, and torch.compile's stance too."""
    hook, stance = nn.init._no_grad_trunc_normal_, eval_frame._stance.stance
    both, ended, seen = threading.Barrier(2, timeout=60), threading.Event(), []
    models = [Model(), Model()]

    def first() -> None:
        with fastinit.keyed(models[0], seed=SEED):
            both.wait()
            nn.init.trunc_normal_(models[0].w)
        ended.set()

    def second() -> None:
        with fastinit.keyed(models[1], seed=SEED):
            both.wait()
            ended.wait(60)
            seen.append((nn.init._no_grad_trunc_normal_ is hook, eval_frame._stance.stance))
            nn.init.trunc_normal_(models[1].w)

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = fastinit.trunc_normal_(torch.empty(4, 6), key=fastinit.Key.of("w", seed=SEED))
    for model in models:
        assert_same_bits(model.w.detach(), expected)
    assert seen == [(False, "force_eager")]
    assert nn.init._no_grad_trunc_normal_ is hook
    assert eval_frame._stance.stance == stance != "force_eager"


def test_what_is_compiled_runs_as_it_is_written() -> None:
    """Nothing is traced within, and a function that was compiled before is followed."""
    traced = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        traced.append(graph)
        return graph.forward

    @torch.compile(backend=backend)
    def init(w: Tensor) -> None:
        w.normal_().mul_(0.5)

    with torch.no_grad():
        init(torch.empty(4, 6))
    assert len(traced) == 1
    assert_same_bits(live(lambda model: init(model.w)), own("w", std=0.5))
    with torch.no_grad():
        init(torch.empty(4, 6))
    assert len(traced) == 1


@pytest.mark.parametrize("way", ["record", "keyed", "build"])
def test_an_exception_restores_everything(way: str) -> None:
    before, stance, state = dict(vars(nn.init)), eval_frame._stance.stance, torch.get_rng_state()

    def init(model: nn.Module) -> None:
        nn.init.trunc_normal_(model.get_parameter("w"))
        raise LookupError("midway")

    def made() -> nn.Module:
        model = Model()
        init(model)
        return model

    ways: dict[str, Callable[[], object]] = {
        "record": lambda: fastinit.record(Model, init),
        "keyed": lambda: live(init),
        "build": lambda: fastinit.build(made),
    }
    with pytest.raises(LookupError, match="midway"):
        ways[way]()
    assert nn.init._no_grad_trunc_normal_ is before["_no_grad_trunc_normal_"]
    assert all(value is before[name] for name, value in vars(nn.init).items())
    assert eval_frame._stance.stance == stance
    assert_same_bits(torch.get_rng_state(), state)
    drawn = torch.empty(4, 6).normal_(generator=torch.Generator().manual_seed(0))
    assert_same_bits(drawn, torch.empty(4, 6).normal_(generator=torch.Generator().manual_seed(0)))
    assert_same_bits(live(lambda model: nn.init.normal_(model.w)), own("w"))


def test_a_fill_is_of_the_innermost_that_knows_the_parameter() -> None:
    model, other = Pair(), Model()
    with (
        fastinit.keyed(model, seed=1) as outer,
        fastinit.keyed(other, seed=2),
        fastinit.keyed(model.b, seed=3) as inner,
    ):
        for each in (model.a, model.b, other):
            nn.init.normal_(each.w)
    assert_same_bits(model.a.w.detach(), own("a.w", seed=1))
    assert_same_bits(model.b.w.detach(), own("w", seed=3))
    assert_same_bits(other.w.detach(), own("w", seed=2))
    assert inner["w"].role == "law"
    assert outer["b.w"].note == "by fastinit, with a key of its own"


def test_strict_has_nothing_against_what_is_made_within() -> None:
    model = Network()
    with fastinit.keyed(model, seed=SEED, strict=True):
        model.init_states()
    assert_same_models(model, recorded(Network))


def test_a_deep_copy_made_within_is_a_model_of_its_own() -> None:
    """Its parameters have the original's numbers, and stay what they are."""
    model = Model()
    with fastinit.keyed(model, seed=SEED), torch.no_grad():
        nn.init.normal_(model.w)
        twin = copy.deepcopy(model)
        twin.w.mul_(2)
    assert_same_bits(model.w.detach(), own("w"))
    assert_same_bits(twin.w.detach(), own("w") * 2)
