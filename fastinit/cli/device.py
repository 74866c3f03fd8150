"""The device that a command fills on: what one process asks for, and what a rank does."""

import os

import torch

from fastinit.backends import backend_for
from fastinit.checkpoint.errors import UsageError


def usable_device(asked: str | None) -> torch.device:
    """The device that was asked for, or the best there is; ``UsageError`` where there is no such device."""
    if asked is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
        backend_for(device.type)
        torch.empty(1, device=device)
    except (
        RuntimeError,
        AssertionError,
        NotImplementedError,
    ) as error:  # torch's answers to a wrong or an absent device
        raise UsageError(f"--device: {asked!r} cannot be used: {str(error).splitlines()[0]}") from None
    return device


def device_of_rank(asked: str | None) -> torch.device:
    """The CPU, or the GPU of this rank's number on its machine; what is wrong is so for all ranks of the machine."""
    if asked not in (None, "cpu", "cuda"):
        raise UsageError(f"--device: expected cpu or cuda under torchrun, which gives each rank a GPU, got {asked!r}")
    rank = int(os.environ["LOCAL_RANK"])
    ranks, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", rank + 1)), torch.cuda.device_count()
    kind = usable_device(asked).type
    if kind == "cuda" and gpus < ranks:
        raise UsageError(f"--device: expected a GPU for each of the {ranks} ranks of this machine, got {gpus}")
    return usable_device(f"cuda:{rank}" if kind == "cuda" else "cpu")


def backend_name(device: torch.device) -> str:
    """The backend that fills tensors on the device."""
    return backend_for(device.type).__name__.rpartition(".")[2]
