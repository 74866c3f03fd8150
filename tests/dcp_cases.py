"""What the ranks of a gloo world check of ``--format dcp``: ``python tests/dcp_cases.py 4``."""

import shutil
import tempfile
import warnings
from math import prod
from pathlib import Path

import gloo_ranks
import torch
import torch.distributed as dist
from laws import assert_same_bits
from torch.distributed.checkpoint import FileSystemReader, load
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from fastinit.checkpoint.dcp import Distributed, Mesh
from fastinit.checkpoint.preset import of_preset
from fastinit.checkpoint.ranks import Ranks
from fastinit.checkpoint.writing import write
from fastinit.cli.splits import split_dims
from fastinit.model.presets import preset
from fastinit.model.roles import named_by

KNOWN = preset("tiny-moe")
# Ranks, and the degrees of expert and tensor parallelism.
WRITERS = ((2, 1, 1), (3, 1, 1), (4, 1, 2), (4, 2, 1), (4, 2, 2))


def nothing(count: int) -> None:
    """What is told of the progress here."""


def loading() -> None:
    live = of_preset(KNOWN)
    contents = live.contents("dcp", KNOWN.name, live.recipe.rules(5), "own", live.recipe)
    named = named_by(contents, set(), KNOWN.patterns)
    rank = dist.get_rank()
    shared: list[str] = [tempfile.mkdtemp() if rank == 0 else ""]
    dist.broadcast_object_list(shared)
    groups = {count: dist.new_group(range(count)) for count in (2, 3, 4)}
    for count, experts, tensors in WRITERS:
        folder = Path(shared[0]) / f"{count}-{experts}-{tensors}"
        if rank < count:
            mesh = Mesh((count // (experts * tensors), experts, tensors), rank, lambda name: split_dims(named[name]))
            form = Distributed(contents, "", mesh.boxes, count)
            write(folder, form, nothing, ranks=Ranks(rank, count, groups[count]))
        dist.barrier()
        stored = FileSystemReader(folder).read_metadata().state_dict_metadata.values()
        assert sum(prod(chunk.sizes) for tensor in stored for chunk in tensor.chunks) == contents.elements
        assert len(list(folder.glob("*.distcp"))) == count
        if rank < 3:
            model = of_preset(KNOWN).model
            fully_shard(model, mesh=DeviceMesh("cpu", [0, 1, 2]))
            model.to_empty(device="cpu")
            load(model.state_dict(), checkpoint_id=folder, process_group=groups[3])
            for name, parameter in model.named_parameters():
                again = torch.empty_like(parameter)
                contents.fill_(name, again.detach())
                assert_same_bits(parameter.to_local(), again.to_local())
        else:
            tensors_of = {name: torch.empty(contents.shape(name), dtype=contents.dtypes[name]) for name in contents}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                load(tensors_of, checkpoint_id=folder, no_dist=True)
            for name, tensor in tensors_of.items():
                again = torch.empty_like(tensor)
                contents.fill_(name, again)
                assert_same_bits(tensor, again)
        dist.barrier()
    if rank == 0:
        shutil.rmtree(shared[0])


if __name__ == "__main__":
    gloo_ranks.main([loading])
