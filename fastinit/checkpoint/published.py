"""The names and the layout that a model's files have: what transformers' ``save_pretrained`` writes, or a state dict.

transformers fuses experts in the live model, and takes them apart again when it saves. That is what it is asked to do here, on
the meta device, while a tape follows where each element goes.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from fastinit.checkpoint.followed import Marks
from fastinit.checkpoint.layout import Laid, Layout
from fastinit.model.shown import shown
from fastinit.shard.storage import dtype_name


def is_transformers(model: nn.Module) -> bool:
    """Whether a model is one of transformers, which knows how its files look."""
    transformers: Any = sys.modules.get("transformers")
    return transformers is not None and isinstance(model, transformers.PreTrainedModel)


def layout_of(saved: Callable[[], Mapping[str, object]], live: Mapping[str, Tensor]) -> Layout:
    """What each tensor that a function returns is made of, in its order, by the names of the live ones.

    Raises ``ValueError`` for tensors that are no boxes of live ones, by name.
    """
    marks = Marks(live)
    with marks.following():
        found = {name: tensor.contiguous() for name, tensor in saved().items() if isinstance(tensor, Tensor)}
    layout = {name: marks.laid(tensor) for name, tensor in found.items()}
    unknown = [name for name, laid in layout.items() if laid is None]
    if unknown:
        raise ValueError(
            "SOURCE: expected files whose tensors are parts of the model's own, got these that are computed of them; "
            f"--format dcp has the model's own: {', '.join(map(shown, unknown))}"
        )
    return {name: laid for name, laid in layout.items() if laid is not None}


def once(layout: Layout) -> Layout:
    """A layout with what is tied once, under the first of its names."""
    first: dict[Laid, str] = {}
    for name, laid in layout.items():
        first.setdefault(laid, name)
    return {name: laid for laid, name in first.items()}


def keep_in_fp32(model: nn.Module, dtype: torch.dtype) -> None:
    """Give the tensors that transformers loads in fp32 beside any 16 bits that dtype. They are on the meta device."""
    from transformers.core_model_loading import build_glob_alternation

    plan = model._get_dtype_plan(dtype)  # type: ignore[operator]  # a model of transformers has it
    if not plan:
        return
    pattern = build_glob_alternation(list(plan))[0]
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if pattern.search(name) and tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float32)


def beside(model: nn.Module, dtype: torch.dtype) -> dict[str, bytes]:
    """config.json and, for a model that generates, generation_config.json, as transformers writes them."""
    config: Any = model.config
    config.dtype = dtype_name(dtype)
    config.architectures = [type(model).__name__]
    with TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        if model.can_generate():  # type: ignore[operator]  # a model of transformers has it
            model.generation_config.save_pretrained(folder)  # type: ignore[union-attr,operator]
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def saved(model: Any) -> Mapping[str, Tensor]:
    """The state dict of a model of transformers as ``save_pretrained`` writes it: once what is tied, and apart what is fused."""
    from transformers.core_model_loading import revert_weight_conversion
    from transformers.modeling_utils import remove_tied_weights_from_state_dict

    tensors = model.state_dict()
    for name in model._keys_to_ignore_on_save or ():
        tensors.pop(name, None)
    found: Mapping[str, Tensor] = revert_weight_conversion(model, remove_tied_weights_from_state_dict(tensors, model))
    return found
