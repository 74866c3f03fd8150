"""init_model_ and verify_model_ on small modules that have torchtitan's names."""

import dataclasses
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fastinit
from fastinit import Key, LocalShard, init_model_, verify_model_
from fastinit.collector import paused
from fastinit.law.distributions import Normal
from fastinit.law.transformed import Constant
from fastinit.model import comparison
from fastinit.model.roles import Named, Role
from fastinit.model.rules import truncated
from fastinit.model.scheme import Scheme

DIM, HIDDEN, EXPERTS, BLOCKS = 16, 24, 4, 4


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.empty(EXPERTS, HIDDEN, DIM))
        self.w2 = nn.Parameter(torch.empty(EXPERTS, DIM, HIDDEN))
        self.w3 = nn.Parameter(torch.empty(EXPERTS, HIDDEN, DIM))


def linears(**shapes: tuple[int, int]) -> nn.ModuleDict:
    return nn.ModuleDict({name: nn.Linear(*shape, bias=False) for name, shape in shapes.items()})


def block(moe: bool) -> nn.Module:
    made = nn.ModuleDict({"attention": linears(wq=(DIM, DIM), wk=(DIM, 8), wv=(DIM, 8), wo=(DIM, DIM))})
    made["attention_norm"], made["ffn_norm"] = nn.RMSNorm(DIM), nn.RMSNorm(DIM)
    if moe:
        router = nn.ModuleDict({"gate": nn.Linear(DIM, EXPERTS, bias=False)})
        made["moe"] = nn.ModuleDict({"router": router, "experts": Experts()})
        made["moe"].register_buffer("expert_bias", torch.full((EXPERTS,), 7.0))
    else:
        made["feed_forward"] = linears(w1=(DIM, HIDDEN), w2=(HIDDEN, DIM), w3=(DIM, HIDDEN))
    return made


class Model(nn.Module):
    """Half of its blocks dense, half a mixture of experts; ``blocks`` are those that a pipeline stage has."""

    def __init__(self, blocks: range = range(BLOCKS), tied: bool = False) -> None:
        super().__init__()
        self.n_layers, self.dim = BLOCKS, DIM
        if 0 in blocks:
            self.tok_embeddings = nn.Embedding(32, DIM)
        self.layers = nn.ModuleDict({str(i): block(moe=i % 2 == 1) for i in blocks})
        if BLOCKS - 1 in blocks:
            self.norm = nn.RMSNorm(DIM)
            self.output = nn.Linear(DIM, 32, bias=False)
        if tied:
            self.output.weight = self.tok_embeddings.weight


def poisoned(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        if parameter.is_floating_point() and not parameter.is_meta:
            parameter.data.fill_(float("nan"))
    return module


def values(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, tensor in actual.items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0, msg=lambda text, n=name: f"{n}: {text}")


def assert_untouched(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        assert parameter.is_meta or not parameter.is_floating_point() or bool(parameter.isnan().all()), name


@pytest.fixture
def whole() -> dict[str, Tensor]:
    filled = poisoned(Model())
    init_model_(filled, "llama", seed=5)
    return values(filled)


@pytest.mark.parametrize("method", fastinit.InitMethod)
def test_every_parameter_is_what_its_name_and_rule_say(method: str) -> None:
    filled = poisoned(Model())
    report = init_model_(filled, method, seed=5, std=0.1)
    assert [row.name for row in report.rows] == [name for name, _ in filled.named_parameters()]
    for row in report.rows:
        parameter = filled.get_parameter(row.name)
        assert row.key == Key.of(row.name, seed=5)
        if isinstance(row.law, Constant):
            assert row.role == Role.NORM.value
            expected = torch.ones(DIM)
        elif isinstance(row.law, Normal):
            expected = fastinit.normal_(torch.empty(parameter.shape), row.law.mean, row.law.std, key=row.key)
        else:
            law = row.law
            expected = fastinit.trunc_normal_(torch.empty(parameter.shape), 0.0, law.std, law.a, law.b, key=row.key)
        torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=0)


def test_laws_are_those_of_role_block_and_fan() -> None:
    report = init_model_(Model(), "llama_depth", std=0.1)
    assert report["layers.2.attention.wo.weight"].law == truncated(0.1 / (2 * 3) ** 0.5)
    assert report["layers.3.moe.experts.w1"].law == truncated(0.1 / (2 * 4) ** 0.5)
    report = init_model_(Model(), "fan_in")
    assert report["layers.3.moe.experts.w1"].law == truncated(DIM**-0.5)
    assert report["layers.3.moe.experts.w2"].law == truncated(HIDDEN**-0.5)
    assert report["layers.2.feed_forward.w2.weight"].law == truncated(HIDDEN**-0.5)
    report = init_model_(Model(), "normal", std=0.1, embedding_std=0.3)
    assert report["tok_embeddings.weight"].law == truncated(0.3)
    assert report["output.weight"].law == truncated(0.1)


def test_pipeline_stages_are_parts_of_the_whole(whole: dict[str, Tensor]) -> None:
    for blocks in (range(1), range(1, 3), range(3, BLOCKS)):
        stage = poisoned(Model(blocks))
        init_model_(stage, "llama", seed=5)
        assert_same(values(stage), whole)


def test_wrappers_change_nothing(whole: dict[str, Tensor]) -> None:
    wrapped = nn.Module()
    wrapped.module = poisoned(Model())
    report = init_model_(wrapped, "llama", seed=5)
    assert_same(values(wrapped.module), whole)
    assert set(whole) == {row.name for row in report.rows}
    compiled = torch.compile(poisoned(Model()), backend="eager")
    init_model_(compiled, "llama", seed=5)
    assert_same(values(compiled._orig_mod), whole)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_tied_parameters_are_filled_once_and_stay_tied(device: str, whole: dict[str, Tensor]) -> None:
    with torch.device(device):
        tied = poisoned(Model(tied=True))
    report = init_model_(tied, "llama", seed=5, device="cpu")
    assert tied.output.weight is tied.tok_embeddings.weight
    assert_same(values(tied), whole)
    row = report["output.weight"]
    assert (row.name, row.tied, row.role) == ("tok_embeddings.weight", ("output.weight",), Role.EMBEDDING.value)


def test_buffers_are_untouched(whole: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        materialised = Model()
    init_model_(materialised, "llama", device="cpu")
    assert all(buffer.is_meta for buffer in materialised.buffers())
    filled = Model()
    init_model_(filled, "llama")
    assert all(bool((buffer == 7).all()) for buffer in filled.buffers())


def test_meta_parameters_are_materialised_and_others_stay(whole: dict[str, Tensor]) -> None:
    mixed = Model().to(torch.bfloat16)
    mixed.layers["1"].to("meta")
    kept = {id(parameter) for parameter in mixed.parameters() if not parameter.is_meta}
    mixed.layers["1"].attention.wq.weight.requires_grad_(False)
    with pytest.raises(ValueError, match=r"device: expected one .*layers.1.attention.wq.weight"):
        init_model_(poisoned(mixed), "llama", seed=5)
    assert_untouched(mixed)
    init_model_(mixed, "llama", seed=5, device="cpu")
    assert {id(parameter) for parameter in mixed.parameters()} >= kept
    assert not mixed.layers["1"].attention.wq.weight.requires_grad
    assert_same(values(mixed), {name: tensor.bfloat16() for name, tensor in whole.items()})


def broken(change: Callable[[Any], object]) -> nn.Module:
    made = Model()
    change(made)
    return poisoned(made)


def unmatched(made: Any) -> None:
    made.adapter, made.extra = nn.Linear(2, 2), nn.Parameter(torch.empty(2))


def placeholder(made: Any) -> None:
    made.output.weight = nn.Parameter(torch.empty(0))


def integer(made: Any) -> None:
    made.output.weight = nn.Parameter(torch.ones(32, DIM, dtype=torch.int8), requires_grad=False)


def same_stream(made: Any) -> None:
    made.module = nn.Module()
    made.module.output = nn.Linear(DIM, 32, bias=False)


def overlapping(made: Any) -> None:
    made.output.weight = nn.Parameter(torch.empty(1, DIM).expand(32, DIM))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (unmatched, ValueError, r"(?s)these 2;.*\n  extra\n  adapter.weight"),
        (placeholder, ValueError, r"ZeRO-3 .*: output.weight$"),
        (integer, TypeError, r"output.weight: expected dtype"),
        (same_stream, ValueError, r"one for output.weight and output.weight"),
        (overlapping, ValueError, r"output.weight: expected one memory location"),
    ],
)
def test_what_cannot_be_filled_is_refused_before_anything_is_written(
    change: Callable[[Any], object], error: type[Exception], message: str
) -> None:
    made = broken(change)
    with pytest.raises(error, match=message):
        init_model_(made, "llama")
    assert_untouched(made)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(method="xavier"), ValueError, "^method: "),
        (dict(method="llama", seed=-1), ValueError, "^seed: "),
        (dict(method="llama", num_blocks=-1), ValueError, "^num_blocks: "),
        (dict(method="llama", d_model=0), ValueError, "^d_model: "),
        (dict(method="llama", std=float("nan")), ValueError, "std: "),
        (dict(method="llama", roles=[("output.weight", "router")]), TypeError, "^roles: "),
        (dict(method="fan_in", roles=[("output.weight", Role.ROUTER, "e o i")]), ValueError, "output.weight: layout: "),
        (dict(method="llama", roles=[("output.weight", Role.EXPERT_W1)]), ValueError, "output.weight: block: "),
        (dict(method="llama", shards={"out": LocalShard((2,), (0,))}), ValueError, "^shards: .*out$"),
        (dict(method="llama", shards={"output.weight": LocalShard((2,), (0,))}), ValueError, "output.weight: shard: "),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    if arguments.get("roles") and arguments["method"] == "llama" and error is ValueError:
        arguments = {**arguments, "method": "llama_depth"}  # the one that asks for the block
    made = poisoned(Model())
    with pytest.raises(error, match=message):
        init_model_(made, **arguments)
    assert_untouched(made)


def test_sizes_are_asked_for_when_a_rule_depends_on_them(whole: dict[str, Tensor]) -> None:
    made = poisoned(Model())
    del made.n_layers
    with pytest.raises(ValueError, match=r"layers.0.attention.wo.weight: num_blocks: "):
        init_model_(made, "llama", seed=5)
    assert_untouched(made)
    init_model_(made, "llama_depth", seed=5)
    init_model_(made, "llama", seed=5, num_blocks=BLOCKS)
    assert_same(values(made), whole)


@pytest.mark.parametrize("blocks", [range(BLOCKS), range(2, BLOCKS), range(3, BLOCKS)], ids=["whole", "stage", "last"])
@pytest.mark.parametrize("told", [{}, dict(num_blocks=3)], ids=["by the model", "by the caller"])
@pytest.mark.parametrize("method", ["normalized", "llama", "llama_depth"])
def test_fewer_blocks_than_there_are(method: str, told: dict[str, int], blocks: range) -> None:
    """A stage's blocks keep their numbers, and the model tells how many there are in all."""
    made = poisoned(Model(blocks))
    init_model_(Model(blocks), method)
    if not told:
        made.n_layers = BLOCKS - 1
    message = r"^layers\.3\.\S+: num_blocks: expected .* more than 3 as there is a block .* got 3; give num_blocks=$"
    with pytest.raises(ValueError, match=message):
        init_model_(made, method, **told)
    assert_untouched(made)
    init_model_(made, "fan_in", **told)  # no rule of which depends on it


def test_a_bank_of_experts_alone_has_no_depth() -> None:
    """The number of an expert is not that of a block."""
    made = nn.ModuleDict({"experts": nn.ModuleList(linears(w1=(DIM, HIDDEN)) for _ in range(EXPERTS))})
    roles = [("experts.*.w1.weight", Role.EXPERT_W1, "o i")]
    with pytest.raises(ValueError, match=r"^experts\.0\.w1\.weight: block: "):
        init_model_(made, "llama_depth", roles=roles)
    init_model_(made, "llama", roles=roles, num_blocks=2)


def test_roles_of_the_caller_come_first() -> None:
    made = broken(unmatched)
    report = init_model_(
        made,
        "llama",
        std=0.5,
        roles=[("adapter.*", Role.UNTOUCHED), Named("extra", Role.SCALE), ("output.*", Role.ATTENTION_IN)],
    )
    assert bool(made.adapter.weight.isnan().all())
    assert bool((made.extra == 1).all())
    assert report["output.weight"].law == truncated(0.5)


def test_plain_shards_are_parts_of_the_whole() -> None:
    made = Model()
    init_model_(made, "fan_in", seed=5)
    wo = made.layers["0"].attention.wo.weight.detach().clone()
    for rank in range(2):
        part = Model()
        part.layers["0"].attention.wo = nn.Linear(DIM // 2, DIM, bias=False)
        place = LocalShard.row_parallel((DIM, DIM), rank, 2)
        report = init_model_(part, "fan_in", seed=5, shards={"layers.0.attention.wo.weight": place})
        assert report["layers.0.attention.wo.weight"].law == truncated(DIM**-0.5)  # not that of the shard
        actual = part.layers["0"].attention.wo.weight.detach()
        torch.testing.assert_close(actual, wo.chunk(2, dim=1)[rank], rtol=0, atol=0)


def test_experts_of_one_rank_are_parts_of_the_bank(whole: dict[str, Tensor]) -> None:
    for rank in range(2):
        part = Model()
        experts = part.layers["1"].moe.experts
        for name in ("w1", "w2", "w3"):
            setattr(experts, name, nn.Parameter(getattr(experts, name)[: EXPERTS // 2].detach().clone()))
        experts.num_experts, experts.num_local_experts, experts.ep_rank = EXPERTS, EXPERTS // 2, rank
        report = init_model_(part, "llama", seed=5)
        for name in ("w1", "w2", "w3"):
            full = f"layers.1.moe.experts.{name}"
            torch.testing.assert_close(getattr(experts, name).detach(), whole[full].chunk(2)[rank], rtol=0, atol=0)
            assert report[full].global_shape == tuple(whole[full].shape)


def test_report_prints_and_exports() -> None:
    report = init_model_(Model(), "llama", seed=5)
    lines = str(report).splitlines()
    assert len(lines) == 1 + len(report.rows)
    assert lines[1].split()[:3] == ["tok_embeddings.weight", "embedding", "normal,"]
    content = json.loads(report.to_json())
    assert (content["stream_version"], content["method"], content["seed"]) == (fastinit.STREAM_VERSION, "llama", 5)
    first = content["parameters"][0]
    assert first["law"] == {"name": "Normal", "mean": 0.0, "std": 1.0}
    assert Key(**first["key"]) == Key.of("tok_embeddings.weight", seed=5)


@pytest.mark.parametrize("chunk", [1, 7, 100, 2**20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_verify(chunk: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "_CHUNK", chunk)
    filled = Model(range(2)).to(dtype)
    init_model_(filled, "llama", seed=5)
    before = {name: tensor.clone() for name, tensor in values(filled).items()}
    found = verify_model_(filled, "llama", seed=5)
    assert found
    assert str(found).startswith(f"all bits of {sum(p.numel() for p in filled.parameters()):,} elements")
    assert_same(values(filled), before)
    bank = filled.layers["1"].moe.experts.w2.data
    bank[2, 3, 4] += 2**-10
    bank[3, 0, 0] = float("nan")
    found = verify_model_(filled, "llama", seed=5)
    assert not found
    assert str(found) == "layers.1.moe.experts.w2: 2 of 1,536 elements differ, the first at [2, 3, 4]"
    assert [row["differing"] for row in json.loads(found.to_json())["parameters"] if row["differing"]] == [2]


def test_verify_knows_another_seed_method_and_std() -> None:
    filled = Model()
    init_model_(filled, "llama", seed=5)
    random = sum("norm" not in name for name, _ in filled.named_parameters())
    assert len(verify_model_(filled, "llama", seed=6).different) == random
    assert len(verify_model_(filled, "normal", seed=5).different) < random
    assert verify_model_(filled, "llama", seed=5, std=0.03).different


def test_verify_regenerates_a_chunk_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    fill = comparison.fill_as_planned_

    def watched(plan: Any, tensors: list[Tensor], *rest: Any) -> None:
        sizes.append(sum(tensor.numel() for tensor in tensors))
        fill(plan, tensors, *rest)

    monkeypatch.setattr(comparison, "fill_as_planned_", watched)
    monkeypatch.setattr(comparison, "_CHUNK", 64)
    filled = Model()
    init_model_(filled, "llama")
    assert verify_model_(filled, "llama")
    assert max(sizes) <= 64
    assert sum(sizes) == sum(parameter.numel() for parameter in filled.parameters())


CALLS = 15  # a parameter, each of them in a block of its own: 10 and 13


def calls_of(call: Callable[[], object]) -> int:
    """How many functions of Python are called: the same on any machine."""
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event == "call"

    def counted() -> None:
        sys.setprofile(count)
        try:
            call()
        finally:
            sys.setprofile(None)

    paused(counted)  # what the collector finds on its way may call functions of its own
    return calls


@pytest.mark.parametrize("call", [init_model_, verify_model_])
def test_calls_a_parameter_do_not_grow_with_the_model(call: Callable[..., object]) -> None:
    """Counted exactly at three sizes, as differences, in which what is done once for a model is not."""
    calls = []
    for modules in (300, 300, 600, 900):  # the first time, laws and plans are made
        model = nn.ModuleList(nn.Linear(2, 2, bias=False) for _ in range(modules))
        roles = [("*.weight", Role.ROUTER)]
        init_model_(model, "normal", roles=roles)
        calls.append(calls_of(lambda model=model, roles=roles: call(model, "normal", roles=roles)))  # type: ignore[misc]
    assert 0 < calls[3] - calls[2] == calls[2] - calls[1] <= 300 * CALLS


def test_verify_wants_values() -> None:
    with torch.device("meta"):
        meta = Model()
    with pytest.raises(ValueError, match=r"meta parameters: tok_embeddings.weight, "):
        verify_model_(meta, "llama")


def test_both_take_what_a_scheme_is_made_of() -> None:
    """In its order, with its types and defaults."""
    fields = {field.name: (field.type, field.default) for field in dataclasses.fields(Scheme) if field.init}
    for function in (init_model_, verify_model_):
        parameters = inspect.signature(function).parameters
        taken = {name: (parameter.annotation, parameter.default) for name, parameter in parameters.items()}
        assert list(taken)[1 : 1 + len(fields)] == list(fields)
        nothing = inspect.Parameter.empty
        assert {name: taken[name] for name in fields if taken[name][1] is not nothing} == {
            name: field for name, field in fields.items() if name != "method"
        }
