"""Plan: which law and key each parameter of a model gets, with every check made before anything is written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor, nn

from fastinit import dtensor
from fastinit.distributions import Distribution
from fastinit.formats import FORMATS
from fastinit.geometry import LocalShard, Shape, overlaps
from fastinit.laws import Constant, InverseSoftplusOfLogUniform, Law, LogOfUniform
from fastinit.lowering import lower
from fastinit.roles import Named, Role, block_of, fan_in, named_by
from fastinit.rules import METHODS, TORCH_ROLES, Sizes, law_of
from fastinit.stream import Key
from fastinit.walk import Found, d_model_of, experts_shard, model_types_of, num_blocks_of, parameters_of

RolePatterns = Iterable[Named | tuple[str, Role] | tuple[str, Role, str]]


@dataclass(frozen=True, slots=True)
class Scheme:
    """What the caller of init_model_ or verify_model_ asked for, checked."""

    method: str
    seed: int
    std: float
    roles: tuple[Named, ...]
    num_blocks: int | None
    d_model: int | None
    embedding_std: float | None
    embed_scale: float | None
    shards: Mapping[str, LocalShard]

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {str(self.method)!r}")
        Key(self.seed)
        for name in ("num_blocks", "d_model", "embed_scale"):
            number = getattr(self, name)
            if number is not None and not number > 0:
                raise ValueError(f"{name}: expected a number > 0, got {number}")
        for named in self.roles:
            if not isinstance(named.pattern, str) or not isinstance(named.role, Role):
                raise TypeError(f"roles: expected a pattern, a fastinit.roles.Role and perhaps a layout, got {named}")


@dataclass(frozen=True, slots=True)
class Planned:
    """One parameter: where it is in the model, and what it is filled with. ``law`` is None for one left as it is."""

    name: str
    tied: tuple[str, ...]
    parameter: Tensor
    role: Role
    law: Law | None
    key: Key
    shard: LocalShard | None

    @property
    def global_shape(self) -> Shape:
        """The shape of the logical tensor."""
        return self.shard.global_shape if self.shard else tuple(self.parameter.shape)

    def boxes(self) -> list[tuple[Tensor, LocalShard]]:
        """The plain tensors of this rank, each with its place in the logical tensor."""
        if dtensor.is_dtensor(self.parameter):
            return dtensor.local_fills(self.parameter)
        return [(self.parameter, self.shard or LocalShard.whole(tuple(self.parameter.shape)))]


def plan_of(model: nn.Module, scheme: Scheme) -> list[Planned]:
    """A plan for each parameter of the model, in the model's order. Nothing is written.

    Raises ``ValueError`` or ``TypeError``, with the names of the parameters, for what init_model_ documents.
    """
    parameters = parameters_of(model)
    _check_present(parameters)
    keys = {parameter.name: Key.of(parameter.name, scheme.seed) for parameter in parameters}
    _check_streams(parameters, keys)
    found = {parameter.name: parameter for parameter in parameters}
    unknown = [name for name in scheme.shards if name not in found]
    if unknown:
        raise ValueError(f"shards: expected names of parameters, got {', '.join(unknown)}")
    model_types = model_types_of(model)
    named = named_by(found, model_types, scheme.roles)
    _check_matched(named, model_types)
    # Not from the names of the parameters: a pipeline stage has only some of the blocks.
    whole = Sizes(
        d_model=scheme.d_model or d_model_of(model),
        num_blocks=scheme.num_blocks or num_blocks_of(model),
        embed_scale=scheme.embed_scale or getattr(model, "embed_scale", None),
    )
    matched = {name: match for name, match in named.items() if match is not None}
    planner = _Planner(scheme, whole, found, matched, keys)
    return [planner.planned(parameter) for parameter in parameters]


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
            shard = self._shard(found)
            law = law_of(self.scheme.method, named.role, self._sizes(found, named))
            _check_fillable(found.parameter, law, shard)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{found.name}: {error}") from None
        return Planned(found.name, found.names[1:], found.parameter, named.role, law, self.keys[found.name], shard)

    def _shard(self, found: Found) -> LocalShard | None:
        given = self.scheme.shards.get(found.name)
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


def _check_present(found: Iterable[Found]) -> None:
    empty = [parameter.name for parameter in found if parameter.parameter.numel() == 0]
    if empty:
        raise ValueError(
            "model: expected parameters with elements, got placeholders without any, as DeepSpeed's ZeRO-3 leaves them "
            f"outside of GatheredParameters: {', '.join(empty)}"
        )


def _check_matched(named: Mapping[str, Named | None], model_types: set[str]) -> None:
    unmatched = [name for name, match in named.items() if match is None]
    if unmatched:
        model = f" in a model of type {', '.join(sorted(model_types))}" if model_types else ""
        raise ValueError(
            f"roles: expected a pattern for every parameter, found none{model} for these {len(unmatched)}; add "
            f"(pattern, Role) pairs, see fastinit.roles:\n  " + "\n  ".join(unmatched)
        )


def _check_streams(found: Iterable[Found], keys: Mapping[str, Key]) -> None:
    """Equal streams are equal values: two parameters of one canonical name, or a collision of the digest."""
    by_stream: dict[int, Found] = {}
    for parameter in found:
        other = by_stream.setdefault(keys[parameter.name].stream, parameter)
        if other is not parameter:
            names = f"{other.name} and {parameter.name}"
            raise ValueError(f"model: expected a stream id for each parameter, got one for {names}")


def _check_fillable(tensor: Tensor, law: Law | None, shard: LocalShard | None) -> None:
    """What a fill would raise, raised before the first fill."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if law is None:
        return
    if dtype not in FORMATS:
        raise TypeError(f"expected dtype {', '.join(FORMATS)}, got {dtype}")
    if not isinstance(law, (Constant, LogOfUniform, InverseSoftplusOfLogUniform)):
        _check_value(law, dtype)
    if dtensor.is_dtensor(tensor):
        if shard is not None:
            raise ValueError("shards: expected none for a DTensor, whose placements say where it lies")
        dtensor.local_fills(tensor)
    elif not tensor.is_contiguous() and overlaps(tuple(tensor.shape), tensor.stride()):
        raise ValueError(f"expected one memory location an element, got strides {tensor.stride()}")
    elif shard is not None:
        shard.check_holds(tuple(tensor.shape))


@lru_cache(maxsize=4096)
def _check_value(law: Distribution, dtype: str) -> None:
    """Raise ``ValueError`` unless the law has a value of the dtype."""
    lower(law).bounds(dtype)
