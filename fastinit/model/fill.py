"""init_model_ and verify_model_: a whole model by the names of its parameters."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from fastinit import op
from fastinit.foreach import foreach_fill_
from fastinit.law.distributions import Distribution
from fastinit.model.methods import fill_law_
from fastinit.model.plan import Planned, RolePatterns, Scheme, plan_of
from fastinit.model.report import Checked, Report, Row, Verification
from fastinit.model.roles import Named
from fastinit.model.walk import packed_in
from fastinit.shard import dtensor
from fastinit.shard.geometry import LocalShard, Shape
from fastinit.shard.storage import is_fake

_CHUNK = 2**20  # elements that are regenerated at a time
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def init_model_(
    model: nn.Module,
    method: str,
    *,
    seed: int = 0,
    std: float = 0.02,
    roles: RolePatterns = (),
    num_blocks: int | None = None,
    d_model: int | None = None,
    embedding_std: float | None = None,
    embed_scale: float | None = None,
    shards: Mapping[str, LocalShard] | None = None,
    device: torch.device | str | None = None,
) -> Report:
    """Fill every parameter of a model, in place, by its name.

    >>> report = init_model_(model, "llama", seed=0, device="cuda")
    >>> print(report)

    Args:
        model: any module; sharded (FSDP2, tensor, expert or pipeline parallel) or whole, it gets the same values.
        method: one of ``fastinit.InitMethod``, or its name.
        seed: of the whole model; the key of a parameter is ``Key.of(name, seed)`` with its canonical name.
        std: of what the method does not give another.
        roles: ``(pattern, Role)`` or ``(pattern, Role, layout)``, tried before the built-in ones; see fastinit.model.roles.
        num_blocks, d_model: of the whole model, where its ``config`` or its attributes do not tell; asked for only if a
            rule depends on it.
        embedding_std: of the embedding under the method "normal"; without it, ``std``.
        embed_scale: what the model multiplies its embeddings by, for the method "fan_in"; without it, its attribute.
        shards: by parameter, where a plain tensor lies in a larger logical tensor.
        device: where parameters on the meta device are materialised; other parameters stay where they are.

    Returns:
        What each parameter was filled with; it prints as a table and exports to JSON.

    Raises:
        ValueError: parameters that no pattern matches (all of them, by name), without elements, or that share a stream
            id; a size that a rule needs and that is nowhere, one below 1, a width that is not the embedding's; a method
            without a rule for a role; meta parameters and no ``device``; a ``Partial`` placement; overlapping memory; a
            shard that does not fit; parameters that FullyShardedDataParallel has cut out of a flat one.
        TypeError: what is no module; a parameter whose dtype cannot be filled, or that is lazy, sparse or nested.
        NotImplementedError: a device that no backend serves.

    All of that is checked before anything is written. Tied parameters are filled once, under their first name, and stay
    tied; parameters that are the same elements of one storage are tied too. Buffers stay as they are: those on the meta
    device are the model's to build. So do weights that are no parameters, as quantised modules have; the report counts
    them. What a model does to its weights afterwards, like nGPT's ``normalize_matrices``, is still to be done.

    Names, sizes and values are the same inside and outside of what wraps a model under a name that is no part of
    canonical names: DistributedDataParallel, DataParallel, FullyShardedDataParallel, torch.compile, checkpoint_wrapper,
    one within another. A module that holds the model under a name of its own, as Lightning's do, is no wrapper by any
    mark: that name is the first part of all names, so give the model inside. Sizes are taken from that one all the same.
    A module without parameters, like a pipeline stage may be, is filled by doing nothing.
    """
    scheme = _scheme(method, seed, std, roles, num_blocks, d_model, embedding_std, embed_scale, shards)
    plan = plan_of(model, scheme)
    if any(planned.parameter.is_meta for planned in plan):
        _check_device(plan, device)
        _materialise(model, plan, torch.device(device or "cpu"))
        plan = plan_of(model, scheme)
    random = [planned for planned in plan if isinstance(planned.law, Distribution)]
    foreach_fill_(
        [planned.parameter for planned in random],
        [planned.law for planned in random],  # type: ignore[misc]  # chosen by the type of their laws
        keys=[planned.key for planned in random],
        shards=[planned.shard for planned in random],
    )
    for planned in plan:
        if not isinstance(planned.law, Distribution):
            fill_law_(planned.parameter, planned.law, key=planned.key, shard=planned.shard)
    return Report(scheme.method, scheme.seed, tuple(map(_row, plan)), packed_in(model))


def verify_model_(
    model: nn.Module,
    method: str,
    *,
    seed: int = 0,
    std: float = 0.02,
    roles: RolePatterns = (),
    num_blocks: int | None = None,
    d_model: int | None = None,
    embedding_std: float | None = None,
    embed_scale: float | None = None,
    shards: Mapping[str, LocalShard] | None = None,
) -> Verification:
    """Compare every parameter of a model, bit by bit, with what :func:`init_model_` would fill. Nothing is written.

    >>> assert verify_model_(model, "llama", seed=0), "not the initial weights of seed 0"

    The arguments and errors are those of :func:`init_model_`; a model with meta or fake parameters is a ``ValueError``
    too. The values are regenerated in chunks of 2**20 elements, so the memory that it takes does not grow with the model.
    Each rank checks the part that it holds. The result is true when no parameter differs, and prints what does, and what
    could not be compared: weights that are no parameters.
    """
    scheme = _scheme(method, seed, std, roles, num_blocks, d_model, embedding_std, embed_scale, shards)
    plan = plan_of(model, scheme)
    for kind, without_values in (("meta", lambda tensor: tensor.is_meta), ("fake", is_fake)):
        names = [planned.name for planned in plan if without_values(planned.parameter)]
        if names:
            raise ValueError(f"model: expected parameters with values, got {kind} parameters: {', '.join(names)}")
    return Verification(tuple(_checked(planned) for planned in plan if planned.law is not None), packed_in(model))


def _scheme(
    method: str,
    seed: int,
    std: float,
    roles: RolePatterns,
    num_blocks: int | None,
    d_model: int | None,
    embedding_std: float | None,
    embed_scale: float | None,
    shards: Mapping[str, LocalShard] | None,
) -> Scheme:
    patterns = tuple(entry if isinstance(entry, Named) else Named(*entry) for entry in roles)
    return Scheme(method, seed, std, patterns, num_blocks, d_model, embedding_std, embed_scale, shards or {})


# ------------------------------------------------------------------------------------------------------------ meta


def _check_device(plan: list[Planned], device: torch.device | str | None) -> None:
    meta = [planned for planned in plan if planned.parameter.is_meta]
    if device is None or torch.device(device).type == "meta":
        names = ", ".join(planned.name for planned in meta)
        raise ValueError(f"device: expected one to materialise meta parameters on, got {device} with {names}")
    op.check_device(torch.device(device))
    untouched = [planned.name for planned in meta if planned.law is None]
    if untouched:
        raise ValueError(f"roles: expected values in untouched parameters, got meta parameters: {', '.join(untouched)}")


def _materialise(model: nn.Module, plan: list[Planned], device: torch.device) -> None:
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


# ----------------------------------------------------------------------------------------------------------- report


def _row(planned: Planned) -> Row:
    parameter = planned.parameter
    sharded = dtensor.is_dtensor(parameter)
    local = parameter.detach().to_local() if sharded else parameter  # type: ignore[attr-defined]
    return Row(
        name=planned.name,
        tied=planned.tied,
        role=planned.role.value,
        law=planned.law,
        key=planned.key,
        dtype=str(parameter.dtype).removeprefix("torch."),
        global_shape=planned.global_shape,
        local_shape=tuple(local.shape),
        placements=" ".join(map(str, parameter.placements)) if sharded else "",  # type: ignore[attr-defined]
    )


# ----------------------------------------------------------------------------------------------------------- verify


def _checked(planned: Planned) -> Checked:
    elements, differing = 0, 0
    first: Shape | None = None
    for view, box in planned.boxes():
        for chunk, place in _chunks(view.detach(), box):
            mask = _differences(chunk, place, planned)
            count = int(mask.sum())
            if count and first is None:
                index = mask.nonzero()[0].tolist()
                first = tuple(o + i for o, i in zip(place.global_offset, index, strict=True))
            elements, differing = elements + chunk.numel(), differing + count
    return Checked(planned.name, elements, differing, first)


def _chunks(view: Tensor, box: LocalShard) -> Iterator[tuple[Tensor, LocalShard]]:
    """Parts of a box, none of more than _CHUNK elements."""
    if view.numel() <= _CHUNK:
        yield view, box
        return
    dim = next(d for d, size in enumerate(view.shape) if size > 1)
    rows = max(1, _CHUNK // (view.numel() // view.shape[dim]))
    for start in range(0, view.shape[dim], rows):
        yield from _chunks(view.narrow(dim, start, min(rows, view.shape[dim] - start)), box.shifted(dim, start))


def _differences(chunk: Tensor, box: LocalShard, planned: Planned) -> Tensor:
    """Where the bits are not the regenerated ones."""
    expected = torch.empty(chunk.shape, dtype=chunk.dtype, device=chunk.device)
    fill_law_(expected, planned.law, key=planned.key, shard=box)
    bits = _BITS[chunk.element_size()]
    return expected.view(bits) != chunk.view(bits)
