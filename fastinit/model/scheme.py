"""Scheme: the laws that a method gives the parameters of a model, by patterns of their names and the model's sizes."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from fastinit.law.distributions import Normal
from fastinit.model.matched import matched
from fastinit.model.planned import Given, Part
from fastinit.model.roles import Named, Role, block_of, fan_in
from fastinit.model.rules import METHODS, TORCH_ROLES, Sizes, law_of
from fastinit.model.shown import shown
from fastinit.model.sizes import (
    check_scale,
    check_width,
    d_model_of,
    embed_scale_of,
    is_size,
    model_types_of,
    models_of,
    num_blocks_of,
)
from fastinit.shard.geometry import LocalShard
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

    def given(self, model: nn.Module, parts: Sequence[Part]) -> list[Given]:
        """What each parameter gets: the law of its role, which its name tells, in a model of these sizes."""
        models = models_of(model, [part.found.paths for part in parts])
        named = matched((part.name for part in parts), model_types_of(models), models, self.patterns)
        # Not from the names of the parameters: a pipeline stage has only some of the blocks.
        width = d_model_of(models) if self.d_model is None else None
        blocks = num_blocks_of(models) if self.num_blocks is None else None
        whole = Sizes(
            d_model=width.size if width else self.d_model,
            num_blocks=blocks.size if blocks else self.num_blocks,
            embed_scale=embed_scale_of(models) if self.embed_scale is None else self.embed_scale,
        )
        giver = _Giver(self, whole, {part.name: part for part in parts}, named)
        given = [giver.given(part) for part in parts]
        embeddings = [giver.parts[name] for name, match in named.items() if match.role is Role.EMBEDDING]
        widths = {part.name: part.global_shape[-1] for part in embeddings if part.global_shape}
        check_width(widths, (part.global_shape for part in parts), width)
        return given


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
class _Giver:
    scheme: Scheme
    whole: Sizes
    parts: Mapping[str, Part]
    named: Mapping[str, Named]
    known: dict[Hashable, Given] = field(default_factory=dict)  # by all that a law depends on

    def given(self, part: Part) -> Given:
        """What one parameter gets; an error names it."""
        name = part.found.names[0]
        named = self.named[name]
        try:
            if part.found.kind is None and named.role is not Role.UNTOUCHED:
                check_tensor(part.found.parameter)  # it may have no shape
            by_fan = self.scheme.method == "fan_in" or named.role in TORCH_ROLES
            alike = id(named.role), block_of(name), self._inputs(part, named) if by_fan else None
            known = self.known.get(alike)
            if known is None:
                known = self.known[alike] = self._new(named.role, *alike[1:])
            return known
        except (TypeError, ValueError) as error:
            raise type(error)(f"{shown(name)}: {str(error).removeprefix('tensor: ')}") from None

    def _new(self, role: Role, block: int | None, inputs: int | None) -> Given:
        """What parameters of a role get in a block, with so many inputs."""
        scheme = self.scheme
        std = scheme.embedding_std if role is Role.EMBEDDING else None
        sizes = replace(self.whole, std=scheme.std if std is None else std, block=block, fan_in=inputs)
        return Given(role.value, law_of(scheme.method, role, sizes))

    def _inputs(self, part: Part, named: Named) -> int | None:
        """The number of inputs that the pattern points to; see roles.Named."""
        source, owner = named.inputs, part.found.owner
        if source.startswith("="):
            other = part.found.sibling(source[1:])
            if other not in self.parts:
                raise ValueError(f"roles: expected a parameter {other}, whose inputs count, got none of that name")
            return self._inputs(self.parts[other], self.named[other])
        if source.startswith("."):
            return getattr(owner, source[1:], None)
        return fan_in(source, part.global_shape, getattr(owner, "num_experts", None)) if source else None
