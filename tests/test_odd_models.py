"""Models with weights that are no parameters, without any, or by names that tell what was done to them."""

import pytest
import torch
from test_model import Model, assert_untouched, poisoned
from torch import nn

from fastinit import init_model_, verify_model_


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
