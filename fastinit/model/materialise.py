"""Memory for the parameters of a model on the meta device."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastinit import op
from fastinit.model.planned import Planned


def device_of(device: torch.device | str) -> torch.device:
    """The device that an argument names."""
    try:
        return torch.device(device)
    except (TypeError, RuntimeError):
        error = ValueError if isinstance(device, str) else TypeError
        raise error(f"device: expected a torch.device or the name of one, got {device!r}") from None


def any_meta(plan: Sequence[Planned]) -> bool:
    """Whether a parameter of a plan has no memory yet."""
    kinds = {planned.part.found.kind for planned in plan}
    if any(kind.device.type == "meta" for kind in kinds if kind is not None):
        return True
    return None in kinds and any(planned.parameter.is_meta for planned in plan)


def check_device(plan: list[Planned], device: torch.device | str | None) -> None:
    """Raise ``ValueError`` unless the device may hold the plan's meta parameters, and all of them are to be filled."""
    meta = [planned for planned in plan if planned.parameter.is_meta]
    if device is None or torch.device(device).type == "meta":
        names = ", ".join(planned.name for planned in meta)
        raise ValueError(f"device: expected one to materialise meta parameters on, got {device} with {names}")
    op.check_device(torch.device(device))
    untouched = [planned.name for planned in meta if planned.law is None]
    if untouched:
        raise ValueError(f"roles: expected values in untouched parameters, got meta parameters: {', '.join(untouched)}")


def materialise(model: nn.Module, plan: list[Planned], device: torch.device) -> None:
    """Memory for the meta parameters alone; ties are kept, also those of parameters over one storage.

    ``_apply`` is what ``Module.to_empty`` is made of, and what FSDP2 overrides to find its shards again.
    """
    uses: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if parameter.is_meta:
                uses.setdefault(id(parameter), []).append((module, name))
    paths = [planned.paths for planned in plan if planned.parameter.is_meta]
    over_one = [{id(model.get_parameter(path)): path for path in ways} for ways in paths]

    def materialised(tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor, device=device) if tensor.is_meta and id(tensor) in uses else tensor

    model._apply(materialised)
    for (first, first_name), *others in uses.values():
        for module, name in others:
            setattr(module, name, getattr(first, first_name))
    for path, *aliases in map(dict.values, over_one):
        for alias in aliases:
            model.get_parameter(alias).data = model.get_parameter(path).data
