"""Scheme: the laws that a method gives the parameters of a model, by patterns of their names and the model's sizes."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from torch import nn

from fastinit.law.distributions import Normal
from fastinit.model.matched import matched
from fastinit.model.planned import Given, Part, Parts, Rules, Source
from fastinit.model.roles import Named, Role
from fastinit.model.rules import METHODS, TORCH_ROLES, Sizes, asks_for_block, law_of
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
from fastinit.model.tiles import Content
from fastinit.shard.fans import fan_in
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
        check_shards(self.shards)
        object.__setattr__(self, "patterns", tuple(_patterns(self.roles)))

    def given(self, model: nn.Module, parts: Parts) -> list[Given]:
        """What each parameter gets: the law of its role, which its name tells, in a model of these sizes."""
        found = [part.found for part in parts]
        models = models_of(model, found)
        named = matched(found, model_types_of(models, parts.telling), models, self.patterns)
        # Not from the names of the parameters: a pipeline stage has only some of the blocks.
        width = d_model_of(models) if self.d_model is None else None
        blocks = num_blocks_of(models) if self.num_blocks is None else None
        whole = Sizes(
            d_model=width.size if width else self.d_model,
            num_blocks=blocks.size if blocks else self.num_blocks,
            embed_scale=embed_scale_of(models) if self.embed_scale is None else self.embed_scale,
        )
        given = list(_Giver(self, whole, parts, named).all())
        embeddings = [part for part, match in zip(parts, named, strict=True) if match.role is Role.EMBEDDING]
        widths = {part.name: part.global_shape[-1] for part in embeddings if part.global_shape}
        check_width(widths, (part.global_shape for part in parts), width)
        return given


def rules_of(source: str | Source, seed: int, rename: Any, aliases: Any, **sizes: Any) -> Rules:
    """The rules that the arguments of init_model_ ask for: a method's, or a recipe's, which needs nothing but names."""
    shards = sizes.pop("shards")
    if isinstance(source, str):
        for name, given in (("rename", rename), ("aliases", aliases)):
            if given is not None:
                raise ValueError(f"{name}: expected none with a method, whose keys come from the model's own names")
        return Scheme(source, seed, shards=shards, **sizes)
    if not hasattr(source, "rules"):
        raise TypeError(f"method: expected one of {', '.join(METHODS)}, or a fastinit.Recipe, got {source!r}")
    for name, given in sizes.items():
        if given != _DEFAULTS[name]:
            raise ValueError(
                f"{name}: expected none with a recipe, which has the laws of all parameters, got {given!r}"
            )
    check_shards(shards)
    return source.rules(seed, shards, rename, aliases)


def check_shards(shards: Mapping[str, LocalShard] | None) -> None:
    """Raise ``TypeError`` unless shards come by names of parameters."""
    if shards is not None and not isinstance(shards, Mapping):
        raise TypeError(f"shards: expected a fastinit.LocalShard by parameter's name, got {shards!r}")
    for name, shard in (shards or {}).items():
        if not isinstance(name, str) or not isinstance(shard, LocalShard):
            raise TypeError(f"shards: expected a fastinit.LocalShard by parameter's name, got {shard!r} by {name!r}")


_DEFAULTS = {field.name: field.default for field in fields(Scheme) if field.init}


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


class _Giver:
    """What a scheme gives, found out once for all that a law depends on."""

    def __init__(self, scheme: Scheme, whole: Sizes, parts: Sequence[Part], named: Sequence[Named]) -> None:
        self._scheme, self._whole, self._parts, self._named = scheme, whole, parts, named
        self._known: dict[Hashable, Given] = {}
        self._laws: dict[Content | None, Content | None] = {}  # equal ones are one
        self._fixed: dict[int, Given] = {}  # by the identity of patterns, to hash which takes longer than all else

    def all(self) -> Iterator[Given]:
        """What each parameter gets, in their order; an error names it."""
        for part, named in zip(self._parts, self._named, strict=True):
            given = self._fixed.get(id(named))
            if given is None or part.found.kind is None:
                try:
                    given = self._given(part, named)
                except (TypeError, ValueError) as error:
                    raise type(error)(f"{shown(part.name)}: {str(error).removeprefix('tensor: ')}") from None
            yield given

    def _given(self, part: Part, named: Named) -> Given:
        role, method = named.role, self._scheme.method
        if part.found.kind is None and role is not Role.UNTOUCHED:
            check_tensor(part.found.parameter)  # it may have no shape
        by_block, by_inputs = asks_for_block(method, role), method == "fan_in" or role in TORCH_ROLES
        block = part.found.block if by_block else None
        inputs = self._inputs(part, named) if by_inputs else None
        alike = role, block, inputs
        given = self._known.get(alike)
        if given is None:
            law = self._law(*alike)
            given = self._known[alike] = Given(role.value, self._laws.setdefault(law, law))
        if not by_block and not by_inputs:
            self._fixed[id(named)] = given
        return given

    def _law(self, role: Role, block: int | None, inputs: int | None) -> Content | None:
        """What parameters of a role get in a block, with so many inputs."""
        scheme = self._scheme
        std = scheme.embedding_std if role is Role.EMBEDDING else None
        sizes = replace(self._whole, std=scheme.std if std is None else std, block=block, fan_in=inputs)
        return law_of(scheme.method, role, sizes)

    def _inputs(self, part: Part, named: Named) -> int | None:
        """The number of inputs that the pattern points to; see roles.Named."""
        source, owner = named.inputs, part.found.owner
        if source.startswith("="):
            other = part.found.sibling(source[1:])
            position = self._positions.get(other)
            if position is None:
                raise ValueError(f"roles: expected a parameter {other}, whose inputs count, got none of that name")
            return self._inputs(self._parts[position], self._named[position])
        if source.startswith("."):
            return getattr(owner, source[1:], None)
        return fan_in(source, part.global_shape, getattr(owner, "num_experts", None)) if source else None

    @cached_property
    def _positions(self) -> dict[str, int]:
        """Of the parameters, by name."""
        return {part.name: position for position, part in enumerate(self._parts)}
