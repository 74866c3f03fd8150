"""``--format olmo``: OLMo-core's own loaders take it, unmodified."""

import warnings

import olmo_models
import pytest
import torch
from laws import assert_same_bits
from olmo_core.distributed.checkpoint import load_model_and_optim_state
from olmo_core.train.checkpoint import Checkpointer

from fastinit.checkpoint.dcp import Distributed
from fastinit.checkpoint.live import of_build
from fastinit.checkpoint.writing import write
from fastinit.model.scheme import Scheme


def build(name, device="meta"):
    return olmo_models.build(olmo_models.MODELS[name](), device=device)


@pytest.fixture
def written(tmp_path, request):
    """The contents of a model of OLMo-core's, by one of the methods, and the folder that they were written to."""
    live = of_build(lambda: build(request.param), None)
    contents = live.contents("olmo", "here", Scheme("llama_depth", seed=5, std=0.03), "llama_depth", None)
    assert write(tmp_path / "c", Distributed(contents, "model."), lambda count: None) == 0
    return contents, tmp_path / "c"


def assert_holds(model, contents):
    state = model.state_dict()
    assert set(state) == set(contents)
    for name, tensor in state.items():
        again = torch.empty(contents.shape(name), dtype=contents.dtypes[name])
        contents.fill_(name, again)
        assert_same_bits(tensor, again)


@pytest.mark.parametrize("written", ["dense", "moe", "tied"], indirect=True, ids=str)
def test_load_model_and_optim_state_takes_it(written, request):
    contents, folder = written
    model = build(request.node.callspec.params["written"], "cpu")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        load_model_and_optim_state(folder, model)
    assert_holds(model, contents)


class Module:
    """What the checkpointer asks of a module that is trained, by OLMo-core's own way to a state dict."""

    def __init__(self, model):
        self.model = model

    def state_dict_to_load(self, metadata, optim=None):
        assert not any(name.startswith("optim.") for name in metadata.state_dict_metadata)
        return {"model": self.model.state_dict()}

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])


@pytest.mark.parametrize("written", ["moe"], indirect=True, ids=str)
def test_the_checkpointer_takes_it(written, tmp_path):
    """A folder without the state of a trainer, as its documentation has it for weights alone."""
    contents, folder = written
    assert Checkpointer.dir_is_checkpoint(folder)
    model = build("moe", "cpu")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        assert Checkpointer(work_dir=tmp_path / "work").load(folder, Module(model)) is None
    assert_holds(model, contents)
