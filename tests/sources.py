"""Functions that build models of frameworks, for ``fastinit init sources:NAME``."""

import frameworks
import olmo_models
from torch import nn


def olmo() -> nn.Module:
    """A dense model of OLMo-core's."""
    model: nn.Module = olmo_models.dense().build(init_device="cpu")
    return model


def titan() -> nn.Module:
    """A Llama of torchtitan's."""
    return frameworks.titan_llama3()
