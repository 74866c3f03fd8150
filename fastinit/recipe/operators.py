"""What an operator does to the tensors that it is given, as far as its schema tells."""

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload

_aten = torch.ops.aten
_KNOWN = {"aten", "prims", "fastinit"}  # what runs on one device, and can be run again

Arguments = tuple[Any, ...]
Named = dict[str, Any]


class Kind(Enum):
    """What is special about an operator."""

    EACH = "does to each of a list what another does to one, reading nothing that was there before"
    EMPTY = "makes memory that nobody has written to"
    FILL = "writes a number"
    OVERWRITE = "writes what another tensor holds, in its shape"
    JOIN = "puts tensors together"
    READ = "reads a number off a tensor"
    OTHER = "nothing"


_KINDS = {
    Kind.EACH: {_aten._foreach_zero_.default, _aten._foreach_copy_.default},
    Kind.FILL: {_aten.fill_.Scalar, _aten.zero_.default},
    Kind.OVERWRITE: {_aten.copy_.default, _aten.fill_.Tensor},
    Kind.JOIN: {_aten.cat.default, _aten.stack.default},
    Kind.READ: {_aten._local_scalar_dense.default},
}
_EMPTY = {
    _aten.empty,
    _aten.empty_like,
    _aten.empty_strided,
    _aten.empty_permuted,
    _aten.new_empty,
    _aten.new_empty_strided,
}


class Operator(NamedTuple):
    """``written``: positions and names of the arguments that it writes to. ``views``: its results are views of its arguments.

    ``reshapes``: it changes how a tensor lies in its memory, and nothing there. ``opaque``: it cannot be run again: a
    collective, or somebody's own kernel. ``composite``: it is made of others, on every device. ``random``: it draws from a
    generator, of whatever law; torch says so of each, new ones too.
    """

    written: tuple[tuple[int, str], ...]
    views: bool
    reshapes: bool
    composite: bool
    opaque: bool
    random: bool
    kind: Kind


@lru_cache(maxsize=4096)
def operator_of(function: OpOverload) -> Operator:
    """What the schema of an operator says."""
    schema = function._schema
    written = tuple(
        (position, argument.name)
        for position, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    aliases = [returned.alias_info is not None for returned in schema.returns]
    return Operator(
        written=written,
        views=(bool(aliases) and all(aliases) and not written) or function is _aten._unsafe_view.default,
        reshapes=torch.Tag.inplace_view in function.tags,
        composite=function._can_decompose() and function.namespace in _KNOWN,
        opaque=function.namespace not in _KNOWN,
        random=torch.Tag.nondeterministic_seeded in function.tags,
        kind=_kind_of(function),
    )


def _kind_of(function: OpOverload) -> Kind:
    if function.overloadpacket in _EMPTY:
        return Kind.EMPTY
    return next((kind for kind, functions in _KINDS.items() if function in functions), Kind.OTHER)


def tensors_in(arguments: Any) -> list[Tensor]:
    """All tensors among some arguments or results, in lists too; torch's own trees take several times as long."""
    if isinstance(arguments, Tensor):
        return [arguments]
    found: list[Tensor] = []
    if isinstance(arguments, dict):
        arguments = arguments.values()
    elif not isinstance(arguments, list | tuple):
        return found
    for argument in arguments:
        if isinstance(argument, Tensor):
            found.append(argument)
        elif isinstance(argument, list | tuple | dict):
            found += tensors_in(argument)
    return found


def with_tensors(function: Callable[[Tensor], Any], arguments: Any) -> Any:
    """The same arguments, with what the function makes of each tensor in its place."""
    if isinstance(arguments, Tensor):
        return function(arguments)
    if type(arguments) in (list, tuple):
        return type(arguments)([with_tensors(function, argument) for argument in arguments])
    if type(arguments) is dict:
        return {name: with_tensors(function, argument) for name, argument in arguments.items()}
    return arguments


def written_by(operator: Operator, args: Arguments, kwargs: Named) -> list[Tensor]:
    """The tensors among the arguments that are written to."""
    return tensors_in(
        [args[position] if position < len(args) else kwargs.get(name) for position, name in operator.written]
    )
