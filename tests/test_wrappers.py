"""One law over everything that wraps a model: init_model_ of the wrapper gives the values of the bare model, by its names."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from test_model import BLOCKS, DIM, Model, assert_untouched, poisoned
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore

from fastinit import InitMethod, init_model_, verify_model_
from fastinit.model.roles import TORCHTITAN, Named, Role
from fastinit.model.rules import truncated
from fastinit.shard.dtensor import is_dtensor, local_fills
from fastinit.stream import canonical_name

Wrap = Callable[[nn.Module], nn.Module]


class Holder(nn.Module):
    """A wrapper of somebody's own, with attributes that are sizes elsewhere."""

    def __init__(self, model: nn.Module, name: str = "module", **attributes: Any) -> None:
        super().__init__()
        self.add_module(name, model)
        self.loss = nn.CrossEntropyLoss()
        for attribute, value in attributes.items():
            setattr(self, attribute, value)


def checkpointed_blocks(model: nn.Module) -> nn.Module:
    blocks = set(model.layers.values())  # type: ignore[union-attr, operator]
    apply_activation_checkpointing(model, check_fn=blocks.__contains__)
    return model


def sharded(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            fully_shard(module)
    return fully_shard(model)


def fsdp1(model: nn.Module) -> nn.Module:
    return FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


def ddp(model: nn.Module) -> nn.Module:
    return DistributedDataParallel(model)


ON_GLOO: dict[str, Wrap] = {"DDP": ddp, "FSDP1": fsdp1, "FSDP1 of DDP's": lambda model: ddp(fsdp1(model))}
ALONE: dict[str, Wrap] = {
    "compiled": compiled,
    "DataParallel": nn.DataParallel,
    "checkpointed": checkpoint_wrapper,
    "checkpointed blocks": checkpointed_blocks,
    "a holder with dim = 1": lambda model: Holder(model, dim=1, n_layers=1),
    "a holder with d_model = True": lambda model: Holder(model, d_model=True, num_layers=-1),
    "a holder with a config": lambda model: Holder(
        model, config=SimpleNamespace(d_model=7, n_layers=9, model_type="odd")
    ),
    "all of them": lambda model: Holder(
        compiled(nn.DataParallel(checkpoint_wrapper(checkpointed_blocks(model)))), dim=0
    ),
}
# Under the fake group this is rank 1 of 4, which holds a part of each parameter.
ON_FAKE: dict[str, Wrap] = {"FSDP2": sharded, "compiled FSDP2": lambda model: compiled(sharded(model))}


def values(model: nn.Module) -> dict[str, Tensor]:
    return {canonical_name(name): parameter.detach() for name, parameter in model.named_parameters()}


def bare(method: str) -> nn.Module:
    model = poisoned(Model())
    model.embed_scale = 3.0  # type: ignore[assignment]
    init_model_(model, method, seed=5)
    return model


def assert_law(wrap: Wrap, method: str) -> None:
    """Filled through the wrapper it is the bare model, and each is verified as the other is."""
    truth = values(bare(method))
    model = Model()
    model.embed_scale = 3.0  # type: ignore[assignment]
    wrapped = poisoned(wrap(model))
    report = init_model_(wrapped, method, seed=5)
    assert [row.name for row in report.rows] == list(truth)
    for name, parameter in values(wrapped).items():
        for view, box in local_fills(parameter) if is_dtensor(parameter) else [(parameter, None)]:
            expected = truth[name]
            if box is not None:
                for dim, (offset, size) in enumerate(zip(box.global_offset, view.shape, strict=True)):
                    expected = expected.narrow(dim, offset, size)
            torch.testing.assert_close(view, expected, rtol=0, atol=0)
    assert verify_model_(wrapped, method, seed=5)
    assert not verify_model_(wrapped, method, seed=6)
    if not any(map(is_dtensor, wrapped.parameters())):
        assert verify_model_(model, method, seed=5)  # through the wrapper its own parameters were filled
        filled = bare(method)
        assert verify_model_(wrap(filled), method, seed=5)


@pytest.fixture
def gloo() -> Iterator[None]:
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


@pytest.fixture
def fake() -> Iterator[None]:
    dist.init_process_group("fake", rank=1, world_size=4, store=FakeStore())
    yield
    dist.destroy_process_group()


methods = pytest.mark.parametrize("method", InitMethod)


@methods
@pytest.mark.parametrize("wrap", ON_GLOO)
@pytest.mark.filterwarnings("ignore:FSDP will not all-gather.*", "ignore:.*NO_SHARD.*", "ignore:.*is deprecated")
def test_on_one_gloo_rank(gloo: None, wrap: str, method: str) -> None:
    assert_law(ON_GLOO[wrap], method)


@methods
@pytest.mark.parametrize("wrap", ALONE)
@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_in_one_process(wrap: str, method: str) -> None:
    assert_law(ALONE[wrap], method)


@methods
@pytest.mark.parametrize("wrap", ON_FAKE)
def test_on_a_rank_of_four(fake: None, wrap: str, method: str) -> None:
    assert_law(ON_FAKE[wrap], method)


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_pieces_of_a_flat_parameter_are_refused(fake: None) -> None:
    """They have neither the shape of their parameter nor its first element."""
    wrapped = poisoned(fsdp1(Model()))
    with pytest.raises(ValueError, match=r"summon_full_params, .*layers.0.attention.wq.weight"):
        init_model_(wrapped, "normal")
    assert_untouched(wrapped)


# ---------------------------------------------------------------------------------- what holds a model under any name


ROLES = [Named(f"**.{named.pattern}", named.role, named.inputs) for named in TORCHTITAN]  # under any prefix


@methods
@pytest.mark.parametrize(
    "attributes", [dict(dim=1, n_layers=1), dict(d_model=0), dict(hparams=dict(dim=3)), dict(num_layers=True)]
)
@pytest.mark.parametrize("depth", [1, 2])
def test_sizes_are_those_of_the_model_inside(method: str, attributes: dict[str, Any], depth: int) -> None:
    """Names have the attribute's name in them, and so other values; the laws are the same."""
    model: nn.Module = Model()
    laws = [row.law for row in init_model_(model, method, seed=5, std=0.1).rows]
    for name in ("model", "net")[:depth]:
        model = Holder(model, name, **attributes)
    report = init_model_(model, method, seed=5, std=0.1, roles=ROLES)
    assert [row.law for row in report.rows] == laws
    assert report.rows[0].name == ("model.", "net.model.")[depth - 1] + "tok_embeddings.weight"


def test_what_holds_a_model_tells_what_the_model_does_not() -> None:
    model = Model()
    del model.n_layers
    holder = Holder(model, "net", n_layers=BLOCKS, dim=1)
    assert init_model_(holder, "llama", std=0.1, roles=ROLES)["net.layers.0.attention.wo.weight"].law == truncated(
        0.1 / (2 * BLOCKS) ** 0.5
    )


def test_a_model_is_no_wrapper_of_its_only_block() -> None:
    """The numbered parts of a pipeline stage are blocks, whatever sizes these have."""
    stage = Model(range(2, 3))
    stage.layers["2"].dim = 3
    whole = Model()
    init_model_(whole, "normalized", seed=5)
    init_model_(stage, "normalized", seed=5)
    truth = values(whole)
    for name, parameter in values(stage).items():
        torch.testing.assert_close(parameter, truth[name], rtol=0, atol=0)


def test_a_part_called_module_is_no_model_inside() -> None:
    model = Model()
    model.module = nn.ModuleDict({"norm_of_it": nn.LayerNorm(3)})
    model.module.dim = 3
    report = init_model_(model, "llama", roles=[("norm_of_it.weight", Role.NORM)])
    assert report["output.weight"].law == truncated(DIM**-0.5)


def test_the_model_inside_is_named_where_no_pattern_matches() -> None:
    holder = poisoned(Holder(nn.DataParallel(Holder(Model(), "net")), dim=1))
    with pytest.raises(
        ValueError, match=r"or give model.module.module.net, whose parameters all have one:\n  net\.tok"
    ):
        init_model_(holder, "llama")
    assert_untouched(holder)


CONFIG = SimpleNamespace(hidden_size=DIM, num_hidden_layers=BLOCKS)


@methods
@pytest.mark.parametrize("blocks", [range(BLOCKS), range(BLOCKS - 1, BLOCKS)], ids=["whole", "last stage"])
@pytest.mark.parametrize("attributes", [dict(dim=1), dict(dim=0), dict(dim=-1), dict(num_layers=0), dict(num_layers=1)])
def test_a_config_tells_before_a_name_that_may_mean_something_else(
    method: str, blocks: range, attributes: dict[str, int]
) -> None:
    truth = {row.name: row.law for row in init_model_(Model(), method, seed=5).rows}
    model = Model(blocks)
    del model.n_layers, model.dim
    model.config = CONFIG
    for name, value in attributes.items():
        setattr(model, name, value)
    for row in init_model_(model, method, seed=5).rows:
        assert row.law == truth[row.name]


# ---------------------------------------------------------------------------------------------------- sizes that are none


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            dict(n_layers=1),
            r"^num_blocks: expected one size, got 1 from Model.n_layers, 4 from SimpleNamespace.num_hidd",
        ),
        (dict(hidden_size=8), "^d_model: expected one size, got 8 from Model.hidden_size, 16 from .*; give d_model="),
        (
            dict(d_model=7),
            r"^d_model: expected the size of a parameter's dimension, got 7 from Model.d_model; give d_mod",
        ),
    ],
)
def test_sizes_that_disagree_are_refused(attributes: dict[str, int], message: str) -> None:
    """The last of the stages has no embeddings, whose width would tell."""
    stage = poisoned(Model(range(BLOCKS - 1, BLOCKS)))
    stage.config = CONFIG  # type: ignore[assignment]
    for name, value in attributes.items():
        setattr(stage, name, value)
    with pytest.raises(ValueError, match=message):
        init_model_(stage, "llama")
    assert_untouched(stage)


def with_attributes(**attributes: Any) -> nn.Module:
    model = poisoned(Model())
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (dict(dim=0), r"^d_model: expected a size of at least 1 from Model\.dim, got 0; give d_model="),
        (dict(dim=True), r"^d_model: expected a size of at least 1 from Model\.dim, got True"),
        (dict(n_layers=-1), r"^num_blocks: expected a size of at least 1 from Model\.n_layers, got -1"),
        (dict(n_layers=False), r"^num_blocks: .* got False"),
        (dict(embed_scale=0.0), r"^embed_scale: expected a finite number > 0 from Model\.embed_scale, got 0\.0"),
        (dict(d_model=8), r"^d_model: expected the width of tok_embeddings\.weight, 16, got 8 from Model\.d_model"),
    ],
)
def test_a_size_that_cannot_be_is_named(attributes: dict[str, Any], message: str) -> None:
    model = with_attributes(**attributes)
    with pytest.raises(ValueError, match=message):
        init_model_(model, "llama")
    assert_untouched(model)
    given = dict(d_model=DIM, num_blocks=BLOCKS, embed_scale=1.0)
    assert init_model_(model, "llama", **given).rows == init_model_(Model(), "llama", **given).rows  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given", [dict(d_model=True), dict(num_blocks=0.5), dict(d_model=16.5), dict(num_blocks=False)]
)
def test_a_size_of_the_caller_that_cannot_be_is_named(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(ValueError, match=f"^{name}: expected a whole number > 0, got "):
        init_model_(Model(), "llama", **given)


def test_embeddings_may_be_narrower_than_the_model_when_the_caller_says_so() -> None:
    model = Model()
    model.tok_embeddings = nn.Embedding(32, 4)
    assert init_model_(model, "llama", d_model=DIM)["output.weight"].law == truncated(DIM**-0.5)
    with pytest.raises(ValueError, match=r"tok_embeddings.weight, 4, got 16 from Model.dim"):
        init_model_(model, "llama")
