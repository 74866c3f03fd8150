"""DTensor -> views of its local tensor and the boxes that they hold: the only file that knows torch.distributed.tensor.

Nothing here communicates, allocates or waits: where a rank's elements lie in the global tensor follows from the global
shape, the mesh's shape, the rank's coordinate in it and the placements, by placements.py.

torch's own ``compute_local_shape_and_global_offset`` is not used: it names one offset a dimension, but the elements of
a ``_StridedShard`` that stands alone lie in several runs.

Each private name of torch stands in one place, and is the same in the sources of torch 2.11 and 2.13.
"""

import sys
from collections.abc import Hashable
from operator import index
from typing import Any

import torch
from torch import Tensor

from fastinit.shard.geometry import LocalShard, Shape, overlaps
from fastinit.shard.placements import Box, Layout, Order, Split, layouts


def is_dtensor(tensor: Tensor) -> bool:
    """Whether the tensor is a DTensor. Where torch.distributed.tensor was never imported, there is none."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def is_dtensor_type(kind: type) -> bool:
    """Whether tensors of the type are DTensors."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and issubclass(kind, module.DTensor)


def local_fills(dtensor: Tensor) -> list[tuple[Tensor, LocalShard]]:
    """The views of this rank's local tensor that make up its part of a DTensor, each with the box that it holds.

    >>> [(view, shard)] = local_fills(distribute_tensor(torch.empty(8, 4), mesh, [Shard(0)]))  # doctest: +SKIP
    >>> shard  # on rank 1 of 4  # doctest: +SKIP
    LocalShard(global_shape=(8, 4), global_offset=(2, 0))

    One view, the local tensor itself, but for a ``_StridedShard`` that stands alone: a view for each of its pieces.
    None on a rank without elements, on one outside the mesh, and for meta tensors. The views share the local tensor's
    memory, wherever that is: under FSDP2's CPU offload it is not on the mesh's device.

    Raises ``ValueError`` for a ``Partial`` placement, for overlapping memory, for a local tensor that is no shard of
    the global shape, and for a slice of a DTensor that torch made a copy of. A copy is known by the base that autograd
    keeps of every view. After ``detach()`` a copy has none, and passes for a tensor of its own; so does a slice of a
    DTensor that was created under ``torch.inference_mode``.

    """
    boxes = boxes_of(dtensor)
    check_no_copy(dtensor)
    local = local_of(dtensor)
    return [(local if len(boxes) == 1 else local[box.local], box.shard) for box in boxes]


def boxes_of(dtensor: Tensor) -> tuple[Box, ...]:
    """The boxes that this rank holds of a DTensor. Raises what ``local_fills`` does, but for a copy."""
    return _boxes(dtensor) if torch.compiler.is_compiling() else _known_boxes(dtensor)


def local_of(dtensor: Any) -> Tensor:
    """The local tensor itself; ``to_local`` makes another one, and records autograd history."""
    local: Tensor = dtensor._local_tensor
    return local


def logical(tensor: Any) -> Hashable:
    """What DTensors with the same local tensor must have in common to be the same; None for a plain tensor."""
    if not is_dtensor(tensor):
        return None
    spec = tensor._spec
    return tensor.dtype, tensor.shape, spec.mesh, spec.placements, spec.shard_order


def placements_text(dtensor: Any) -> str:
    """How a DTensor is split, for people."""
    return " ".join(map(str, dtensor.placements))


def split_of(dtensor: Any) -> tuple[Hashable, ...]:
    """How a DTensor is split, with its mesh by identity. ``_spec`` is private."""
    spec = dtensor._spec
    return id(spec.mesh), spec.placements, spec.shard_order


_MOST = 4096  # DTensors that differ, of which the boxes are kept
_known: dict[Hashable, tuple[Box, ...]] = {}


def _known_boxes(dtensor: Any) -> tuple[Box, ...]:
    """The boxes that this rank holds, found out once for DTensors that are alike. No mesh is kept alive."""
    mesh, local = dtensor._spec.mesh, dtensor._local_tensor
    coordinate = mesh.get_coordinate()
    place = mesh.shape, None if coordinate is None else tuple(coordinate)
    alike = place, split_of(dtensor)[1:], dtensor.shape, local.shape, local.stride(), local.is_meta
    boxes = _known.get(alike)
    if boxes is None:
        boxes = _boxes(dtensor)
        if len(_known) >= _MOST:
            _known.clear()
        _known[alike] = boxes
    return boxes


def _boxes(dtensor: Tensor) -> tuple[Box, ...]:
    """The boxes that this rank holds."""
    local, mesh, placements, order = _parts(dtensor)
    splits = _splits(placements)
    coordinate = mesh.get_coordinate()
    if coordinate is None or local.is_meta:
        return ()
    shape = tuple(map(index, local.shape))  # index() turns a symbolic size of torch.compile into an int
    if not local.is_contiguous() and overlaps(shape, local.stride()):
        raise ValueError(
            f"tensor: expected one memory location an element, got a DTensor whose local tensor has shape {shape} and "
            f"strides {local.stride()}; fill the tensor before it is expanded"
        )
    global_shape = tuple(map(index, dtensor.shape))
    mesh_shape = tuple(mesh.size(dim) for dim in range(mesh.ndim))  # torch.compile traces mesh.shape from torch 2.12 on
    found = _layouts(global_shape, mesh_shape, tuple(coordinate), splits, order)
    return _matching(found, shape, dtensor).boxes


def _parts(dtensor: Any) -> tuple[Tensor, Any, tuple[Any, ...], Order | None]:
    """Local tensor, mesh, placements, and the order in which the mesh dimensions split, where torch tells it.

    ``_local_tensor`` and ``_spec`` are private, but ``to_local`` records autograd history, and no public name tells
    the order.
    """
    spec = dtensor._spec
    order = None
    if spec.shard_order is not None:  # None where the factor of a _StridedShard tells the order
        order = tuple(mesh_dim for entry in spec.shard_order for mesh_dim in entry.mesh_dims)
    return dtensor._local_tensor, spec.mesh, spec.placements, order


def _splits(placements: tuple[Any, ...]) -> tuple[Split | None, ...]:
    """What each mesh dimension splits. ``_StridedShard`` is a private class."""
    splits: list[Split | None] = []
    for placement in placements:
        kind = type(placement).__name__  # the classes themselves would cost an import of torch.distributed.tensor
        if kind == "Replicate":
            splits.append(None)
        elif kind == "Shard":
            splits.append(Split(placement.dim))
        elif kind == "_StridedShard":
            splits.append(Split(placement.dim, placement.split_factor))
        else:
            raise ValueError(
                f"tensor: expected a DTensor whose placements are Replicate or Shard, got {placement!r}: "
                "the global values do not say what a rank holds"
            )
    return tuple(splits)


def _layouts(
    global_shape: Shape, mesh_shape: Shape, coordinate: Shape, splits: tuple[Split | None, ...], order: Order | None
) -> tuple[Layout, ...]:
    return layouts(global_shape, mesh_shape, coordinate, splits, order)


# torch.compile cannot trace how _StridedShard reads its factor, and warns of lru_cache: it is to call these two while
# it traces, and take what they return for constants. torch.compiler.assume_constant_result would only set this private
# name, but imports all of torch._dynamo.
setattr(_splits, "_dynamo_marked_constant", True)  # noqa: B010 - mypy knows no attributes of functions
setattr(_layouts, "_dynamo_marked_constant", True)  # noqa: B010


def is_view(dtensor: Any) -> bool:
    """Whether autograd knows a base of the DTensor; ``_base`` is private."""
    return dtensor._base is not None


def check_no_copy(dtensor: Any) -> None:
    """Raise ``ValueError`` for a view that does not share its base's memory: nobody would see what is written to it.

    ``_base`` and ``_is_alias_of`` are private.
    """
    base, local = dtensor._base, dtensor._local_tensor
    if base is not None and not torch._C._is_alias_of(local, base._local_tensor):  # type: ignore[attr-defined]
        raise ValueError(
            f"tensor: expected a DTensor with memory of its own, got a slice of shape {tuple(dtensor.shape)}, of which "
            f"torch made a copy, of a DTensor of shape {tuple(base.shape)} with placements {base.placements}. Fill the "
            "whole DTensor, or a slice of its to_local() with shard=LocalShard(...), which says where the slice lies"
        )


def _matching(found: tuple[Layout, ...], shape: Shape, dtensor: Any) -> Layout:
    """The layout that the local tensor has; an empty one may have any shape without elements."""
    for layout in found:
        if layout.shape == shape or (not layout.boxes and 0 in shape):
            return layout
    expected = " or ".join(str(layout.shape) for layout in found)
    raise ValueError(
        f"tensor: expected a local tensor of shape {expected} for a DTensor of shape {tuple(dtensor.shape)} with "
        f"placements {dtensor.placements} on a mesh of shape {tuple(dtensor.device_mesh.shape)}, got shape {shape}"
    )
