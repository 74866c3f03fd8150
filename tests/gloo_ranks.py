"""A small gloo world for one test: every case runs on all ranks, one after the other.

The ranks are forked from one process that has imported all they need and started no thread, since on few cores the
imports of eight spawned processes take longer than everything that they check. A case that raises on any rank
ends the world; what it raised goes to stderr.
"""

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from forked import Forked

Case = Callable[[], None]


def run(script: str, world_size: int, timeout: int = 300) -> None:
    """Run ``tests/SCRIPT WORLD_SIZE``, and raise AssertionError with its output when a case of it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # the ranks share the cores
    started = Forked(str(Path(__file__).with_name(script)), str(world_size), environment=environment)
    done = started.wait(timeout)
    print(done.stdout)
    assert done.returncode == 0, done.stderr


def main(cases: Sequence[Case]) -> None:
    """What such a script does: fork the ranks, run the cases on each, exit with 1 when a rank fails."""
    world_size = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(world_size):
            child = os.fork()
            if child == 0:
                os._exit(_rank(cases, rank, world_size, f"{folder}/store"))
            children.append(child)
        failed = [os.waitpid(child, 0)[1] != 0 for child in children]
    sys.exit(any(failed))


def _rank(cases: Sequence[Case], rank: int, world_size: int, store: str) -> int:
    torch.set_num_threads(1)
    name = "start"
    try:
        dist.init_process_group(
            "gloo",
            store=dist.FileStore(store, world_size),
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=120),
        )
        for case in cases:
            name, start = case.__name__, time.process_time()
            case()
            dist.barrier()
            if rank == 0:
                print(f"{time.process_time() - start:6.2f} s of CPU  {name}", flush=True)
        dist.destroy_process_group()
    except BaseException:
        print(f"rank {rank} of {world_size}, {name}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        return 1
    return 0
