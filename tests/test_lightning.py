"""Lightning: a model that is made empty, in configure_model, or on the meta device, has fastinit's values by its own laws."""

from typing import Any

import lightning
import pytest
import torch
from laws import assert_same_bits
from lightning.fabric.utilities.init import _materialize_distributed_module
from torch import Tensor, nn

import fastinit

SEED = 3


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Embedding(8, 4, padding_idx=0), nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 8, bias=False)
    )


RECIPE = fastinit.record(network)


class Lit(lightning.LightningModule):
    """Its network is made when a trainer asks for it, empty, and then filled."""

    def __init__(self, model: nn.Module | None = None) -> None:
        super().__init__()
        self.model = model
        self.first: dict[str, Tensor] = {}

    def configure_model(self) -> None:
        if self.model is None:
            with torch.device("meta"):
                self.model = network()
            fastinit.init_model_(self.model, RECIPE, seed=SEED, device=self.device)

    def on_train_start(self) -> None:
        self.first = values(self.model)

    def training_step(self, batch: Tensor, number: int) -> Tensor:
        return self.model(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def values(model: Any) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    model = network()
    fastinit.init_model_(model, RECIPE, seed=SEED)
    return values(model)


@pytest.fixture
def fabric() -> lightning.Fabric:
    return lightning.Fabric(accelerator="cpu", devices=1)


def assert_values(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert_same_bits(tensor, expected[name])


def test_a_model_that_is_made_empty(fabric: lightning.Fabric, expected: dict[str, Tensor]) -> None:
    with fabric.init_module(empty_init=True):
        model = network()
    fastinit.init_model_(model, RECIPE, seed=SEED)
    assert_values(values(model), expected)
    assert fastinit.verify_model_(fabric.setup(model).module, RECIPE, seed=SEED)


def test_where_its_context_leaves_initialisation_out_nothing_is_recorded(fabric: lightning.Fabric) -> None:
    """It swallows the functions of torch.nn.init: recorded or live, that is an error with the names, and no other law."""
    with fabric.init_module(empty_init=True):
        for refused in (lambda: fastinit.record(network), lambda: fastinit.build(network, seed=SEED)):
            with pytest.raises(ValueError, match=r"did not write these(?s:.*)\n  1\.weight\n"):
                refused()
    with fabric.init_module(empty_init=False):
        assert not fastinit.record(network).diff(RECIPE)


def test_live_within_its_context(fabric: lightning.Fabric, expected: dict[str, Tensor]) -> None:
    with fabric.init_module(empty_init=False):
        model, _ = fastinit.build(network, seed=SEED)
    assert_values(values(model), expected)


# Lightning's utilities ask torch's trees by a name that torch 2.13 has deprecated.
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
def test_a_trainer_asks_for_the_model(expected: dict[str, Tensor]) -> None:
    lit = Lit()
    trainer = lightning.Trainer(accelerator="cpu", devices=1, max_steps=1, barebones=True)
    trainer.fit(lit, torch.utils.data.DataLoader(torch.arange(8), batch_size=4))
    assert_values(lit.first, expected)


def test_its_attribute_is_a_part_of_the_names(expected: dict[str, Tensor]) -> None:
    lit = Lit(network())
    with pytest.raises(ValueError, match=r"found none for these 6;(?s:.*)\n  model\.0\.weight\n"):
        fastinit.init_model_(lit, RECIPE, seed=SEED)
    fastinit.init_model_(lit, RECIPE, seed=SEED, rename=lambda name: name.removeprefix("model."))
    assert_values(values(lit.model), expected)


def test_modules_that_it_materialises_one_by_one(expected: dict[str, Tensor]) -> None:
    """As its strategy of FSDP2 and tensor parallelism does, by reset_parameters."""
    with torch.device("meta"):
        model = network()
    with fastinit.keyed(model, seed=SEED):
        _materialize_distributed_module(model, torch.device("cpu"))
    assert_values(values(model), expected)
