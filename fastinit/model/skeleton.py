"""The models of the presets: modules with the published names and shapes, without memory and without a forward pass."""

import torch
from torch import Tensor, nn

from fastinit.model.presets import Preset


def build(preset: Preset, layers: int | None = None, dtype: torch.dtype | None = None) -> nn.Module:
    """The preset's live model on the meta device, in its dtype or another, with its first ``layers``, or all of them.

    >>> model = build(preset("olmoe-1b-7b"), layers=2)
    >>> report = init_model_(model, "llama", seed=0, device="cuda")

    It says ``d_model`` and ``n_layers`` of the whole model, however few layers it has, so its values are a part of the whole's.
    What is published in fp32 whatever the rest is in stays so beside 16 bits.

    Raises ``ValueError`` unless ``layers`` is in [0, num_layers].
    """
    layers = preset.num_layers if layers is None else layers
    if not 0 <= layers <= preset.num_layers:
        raise ValueError(f"layers: expected at most the {preset.num_layers} of {preset.name}, got {layers}")
    dtype = dtype or getattr(torch, preset.dtype)
    root = nn.Module()
    root.d_model, root.n_layers = preset.d_model, preset.num_layers  # type: ignore[assignment]  # no submodules
    for row in preset.live(layers):
        own = getattr(torch, row["dtype"]) if "dtype" in row and dtype.itemsize == 2 else dtype
        place(root, row["name"], torch.empty(row["shape"], dtype=own, device="meta"), buffer="buffer" in row)
    return root


def place(root: nn.Module, name: str, tensor: Tensor, buffer: bool = False) -> None:
    """Put a tensor into a model under a dotted name, with the modules on the way there.

    >>> place(root := nn.Module(), "layers.0.weight", torch.empty(4, device="meta"))
    >>> [name for name, _ in root.named_parameters()]
    ['layers.0.weight']
    """
    *path, leaf = name.split(".")
    owner = root
    for part in path:
        if part not in owner._modules:
            owner.add_module(part, nn.Module())
        owner = getattr(owner, part)
    if buffer:
        owner.register_buffer(leaf, tensor)
    else:
        owner.register_parameter(leaf, tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor))
