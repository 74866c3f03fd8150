"""How much memory a device has free, and how many blocks of a model that is."""

import os
from pathlib import Path

import torch

from fastinit.checkpoint.errors import UsageError
from fastinit.model.presets import Preset
from fastinit.model.shown import size_text

# The rest is for what a fill is compared with: torch's takes three to four times the largest tensor.
SHARE = 0.6
_CGROUPS = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be allocated on the device, as far as the system tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min([_system_bytes(), *_cgroup_bytes()])


def _system_bytes() -> int:
    try:
        rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text("ascii").splitlines())
        return int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # no Linux: all of the memory is the best guess there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cgroup_bytes() -> list[int]:
    """What each control group (version 2) around this process leaves: its limit less its use without file cache."""
    try:
        own = next(line[4:] for line in Path("/proc/self/cgroup").read_text("utf-8").split("\n") if line[:3] == "0::")
    except (OSError, StopIteration):
        return []
    left = []
    for group in (_CGROUPS / own, *(_CGROUPS / own).parents):
        try:
            limit = int((group / "memory.max").read_text("ascii"))  # "max" where there is no limit
            rows = dict(line.split() for line in (group / "memory.stat").read_text("ascii").splitlines())
            left.append(limit - int((group / "memory.current").read_text("ascii")) + int(rows["inactive_file"]))
        except (OSError, ValueError, KeyError):
            continue
    return left


def check_fits(size: int, free: int) -> None:
    """Raise ``UsageError`` for a model of more bytes than are free."""
    if size > free:
        raise UsageError(f"SOURCE: it takes {size_text(size)}, and {size_text(free)} are free; --out fills files")


def choose_layers(preset: Preset, itemsize: int, free: int, asked: int | None) -> tuple[int, str]:
    """How many blocks to fill, and why: all that was asked for, or as many as fit in a share of the free memory."""

    def size(layers: int) -> int:
        return preset.numel(layers) * itemsize

    whole = preset.num_layers
    if asked is not None:
        if size(asked) > free:
            raise UsageError(f"--layers: {asked} take {size_text(size(asked))}, and {size_text(free)} are free")
        return asked, "as asked"
    fitting = next((layers for layers in range(whole, 0, -1) if size(layers) <= SHARE * free), 0)
    budget = f"{SHARE:.0%} of the {size_text(free)} that are free"
    if fitting == 0:
        raise UsageError(
            f"one layer of {preset.name} takes {size_text(size(1))}, more than {budget}; ask with --layers 1"
        )
    return fitting, f"all fit in {budget}" if fitting == whole else f"what fits in {budget}; --layers asks for more"
