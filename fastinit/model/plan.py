"""Plan: which law and key each parameter of a model gets, with every check made before anything is written."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from fastinit.law.distributions import Normal
from fastinit.law.transformed import Law
from fastinit.model.checks import check_apart, check_fillable, check_matched, check_present, check_streams, check_width
from fastinit.model.roles import Named, Role, block_of, named_by
from fastinit.model.rules import METHODS, TORCH_ROLES, Sizes, law_of
from fastinit.model.shown import shown
from fastinit.model.sizes import (
    check_scale,
    d_model_of,
    embed_scale_of,
    is_size,
    model_types_of,
    models_of,
    num_blocks_of,
)
from fastinit.model.walk import Found, experts_shard, parameters_of, tied
from fastinit.shard.described import Boxes, boxes_of
from fastinit.shard.fans import fan_in
from fastinit.shard.geometry import LocalShard, Shape
from fastinit.shard.storage import check_tensor
from fastinit.stream import Key

RolePatterns = Iterable[Named | tuple[str, Role] | tuple[str, Role, str]]


@dataclass(frozen=True, slots=True)
class Scheme:
    """The arguments that init_model_ and verify_model_ share, checked; init_model_ says what each is."""

    method: str
    seed: int = 0
    std: float = 0.02
    roles: RolePatterns = ()
    num_blocks: int | None = None
    d_model: int | None = None
    embedding_std: float | None = None
    embed_scale: float | None = None
    shards: Mapping[str, LocalShard] | None = None
    patterns: tuple[Named, ...] = field(init=False, repr=False)  # the roles, each in full

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {str(self.method)!r}")
        object.__setattr__(self, "seed", Key(self.seed).seed)
        _check_std("std", self.std)
        if self.embedding_std is not None:
            _check_std("embedding_std", self.embedding_std)
        for name in ("num_blocks", "d_model"):
            number = getattr(self, name)
            try:
                whole = number is None or is_size(number)
            except (TypeError, RuntimeError):
                raise TypeError(f"{name}: expected a whole number > 0, got {number!r}") from None
            if not whole:
                raise ValueError(f"{name}: expected a whole number > 0, got {number}")
        if self.embed_scale is not None:
            check_scale("", self.embed_scale)
        if self.shards is not None and not isinstance(self.shards, Mapping):
            raise TypeError(f"shards: expected a fastinit.LocalShard by parameter's name, got {self.shards!r}")
        for name, shard in (self.shards or {}).items():
            if not isinstance(name, str) or not isinstance(shard, LocalShard):
                raise TypeError(
                    f"shards: expected a fastinit.LocalShard by parameter's name, got {shard!r} by {name!r}"
                )
        object.__setattr__(self, "patterns", tuple(_patterns(self.roles)))


def _check_std(name: str, std: object) -> None:
    try:
        Normal(0.0, std)  # type: ignore[arg-type]  # which it checks
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}{str(error).removeprefix('std')}") from None


def _patterns(roles: RolePatterns) -> Iterator[Named]:
    if isinstance(roles, (str, Mapping)) or not isinstance(roles, Iterable):
        raise TypeError(f"roles: expected a list of (pattern, Role) pairs, got {roles!r}")
    for entry in roles:
        fields: object = entry
        if isinstance(entry, Named):
            fields = entry.pattern, entry.role, entry.inputs
        match fields:
            case (str() as pattern, Role() as role):
                yield Named(pattern, role)
            case (str() as pattern, Role() as role, str() as inputs):
                yield Named(pattern, role, inputs)
            case _:
                raise TypeError(
                    f"roles: expected a pattern, a fastinit.model.roles.Role and perhaps a layout, got {entry!r}"
                )


@dataclass(frozen=True, slots=True)
class Planned:
    """One parameter: where it is in the model, and what it is filled with. ``law`` is None for one left as it is."""

    name: str
    tied: tuple[str, ...]
    paths: tuple[str, ...]
    parameter: Tensor
    role: Role
    law: Law | None
    key: Key
    shard: LocalShard | None

    @property
    def global_shape(self) -> Shape:
        """The shape of the logical tensor."""
        return self.shard.global_shape if self.shard else tuple(self.parameter.shape)

    def boxes(self) -> Boxes:
        """The plain tensors of this rank, each with its place in the logical tensor."""
        return boxes_of(self.parameter, self.shard)


def plan_of(model: nn.Module, scheme: Scheme) -> list[Planned]:
    """A plan for each parameter of the model, in the model's order. Nothing is written.

    Raises ``ValueError`` or ``TypeError``, with the names of the parameters, for what init_model_ documents.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    parameters = parameters_of(model)
    check_present(model, parameters)
    parameters = tied(parameters)
    keys = {parameter.name: Key.of(parameter.name, scheme.seed) for parameter in parameters}
    check_streams(parameters, keys)
    found = {parameter.name: parameter for parameter in parameters}
    unknown = [name for name in scheme.shards or () if name not in found]
    if unknown:
        raise ValueError(f"shards: expected names of parameters, got {', '.join(unknown)}")
    models = models_of(model, [parameter.paths for parameter in parameters])
    model_types = model_types_of(models)
    named = named_by(found, model_types, scheme.patterns)
    check_matched(named, model_types, models, scheme.patterns)
    # Not from the names of the parameters: a pipeline stage has only some of the blocks.
    width = d_model_of(models) if scheme.d_model is None else None
    blocks = num_blocks_of(models) if scheme.num_blocks is None else None
    whole = Sizes(
        d_model=width.size if width else scheme.d_model,
        num_blocks=blocks.size if blocks else scheme.num_blocks,
        embed_scale=embed_scale_of(models) if scheme.embed_scale is None else scheme.embed_scale,
    )
    matched = {name: match for name, match in named.items() if match is not None}
    planner = _Planner(scheme, whole, found, matched, keys)
    plan = [planner.planned(parameter) for parameter in parameters]
    embeddings = [planned for planned in plan if planned.role is Role.EMBEDDING and planned.global_shape]
    shapes = (planned.global_shape for planned in plan)
    check_width({planned.name: planned.global_shape[-1] for planned in embeddings}, shapes, width)
    check_apart(parameters, {planned.name for planned in plan if planned.law is None})
    return plan


@dataclass(frozen=True, slots=True)
class _Planner:
    scheme: Scheme
    whole: Sizes
    found: Mapping[str, Found]
    named: Mapping[str, Named]
    keys: Mapping[str, Key]

    def planned(self, found: Found) -> Planned:
        """The plan for one parameter; an error names it."""
        named = self.named[found.name]
        try:
            if named.role is not Role.UNTOUCHED:
                check_tensor(found.parameter)
            shard = self._shard(found)
            law = law_of(self.scheme.method, named.role, self._sizes(found, named))
            check_fillable(found.parameter, law, shard)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{shown(found.name)}: {str(error).removeprefix('tensor: ')}") from None
        return Planned(
            found.name, found.names[1:], found.paths, found.parameter, named.role, law, self.keys[found.name], shard
        )

    def _shard(self, found: Found) -> LocalShard | None:
        given = (self.scheme.shards or {}).get(found.name)
        return experts_shard(found.owner, found.parameter) if given is None else given

    def _sizes(self, found: Found, named: Named) -> Sizes:
        whole, scheme = self.whole, self.scheme
        embedding = named.role is Role.EMBEDDING and scheme.embedding_std is not None
        return Sizes(
            std=scheme.embedding_std if embedding and scheme.embedding_std is not None else scheme.std,
            d_model=whole.d_model,
            num_blocks=whole.num_blocks,
            block=block_of(found.name),
            fan_in=self._inputs(found, named) if scheme.method == "fan_in" or named.role in TORCH_ROLES else None,
            embed_scale=whole.embed_scale,
        )

    def _inputs(self, found: Found, named: Named) -> int | None:
        """The number of inputs that the pattern points to; see roles.Named."""
        source = named.inputs
        if source.startswith("="):
            other = found.sibling(source[1:])
            if other not in self.found:
                raise ValueError(f"roles: expected a parameter {other}, whose inputs count, got none of that name")
            return self._inputs(self.found[other], self.named[other])
        if source.startswith("."):
            return getattr(found.owner, source[1:], None)
        shard = self._shard(found)
        shape = shard.global_shape if shard else tuple(found.parameter.shape)
        return fan_in(source, shape, getattr(found.owner, "num_experts", None)) if source else None
