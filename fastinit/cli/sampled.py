"""``--sample``: a quick look."""

import secrets
from argparse import Namespace

from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.parts import Sample


def sample_of(arguments: Namespace) -> Sample | None:
    """The parts that --sample asks for; without --sample-seed others each time."""
    if arguments.sample is None:
        if arguments.sample_seed is not None:
            raise UsageError("--sample-seed: expected --sample, the number of parts of each tensor")
        return None
    seed = secrets.randbits(32) if arguments.sample_seed is None else arguments.sample_seed
    return Sample(arguments.sample, seed)
