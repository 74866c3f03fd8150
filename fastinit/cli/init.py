"""``python -m fastinit init SOURCE``: fill the weights of a model, every tensor by name, in memory or into files."""

from argparse import Namespace

import torch.distributed as dist

from fastinit.checkpoint.errors import UsageError
from fastinit.cli import in_memory
from fastinit.cli.out import write_out


def run(arguments: Namespace) -> int:
    """Fill, and print what was done; 1 when a shard's bits are not those of the whole, else 0."""
    if dist.is_torchelastic_launched():
        from fastinit.cli import distributed  # imports torch.distributed.tensor

        return distributed.run(arguments)
    if arguments.tp * arguments.ep > 1:
        raise UsageError("--tp, --ep: expected several ranks, got one process: start them with torchrun")
    if arguments.out is not None:
        return write_out(arguments)
    if arguments.resume:
        raise UsageError("--resume: expected --out, the checkpoint to go on with")
    return in_memory.fill(arguments)
