"""One walk over the modules of a model: where each parameter is used, under which names, and which modules tell more."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from fastinit.model.modules import every, having, tells_only_its_own
from fastinit.model.names import Like
from fastinit.stream import canonical_name

CONFIG, LOCAL_EXPERTS = "config", "num_local_experts"
_TOLD = frozenset({CONFIG, LOCAL_EXPERTS})

# A parameter, its module, its canonical name, the name that modules have, and the place of the first.
Use = tuple[Tensor, nn.Module, str, str, Like, int | None]


class Uses(NamedTuple):
    """All uses of parameters in a model, the classes of its modules, and those modules that may have a config or local experts."""

    uses: list[Use]
    classes: set[type[nn.Module]]
    telling: list[nn.Module]


class _Way(NamedTuple):
    """Of a class of modules: whether it names modules and parameters as torch does, and may have what no module was given."""

    modules: bool
    parameters: bool
    tells: bool

    @classmethod
    def of(cls, kind: type[nn.Module]) -> "_Way":
        return cls(
            kind.named_modules is nn.Module.named_modules,
            kind.named_parameters is nn.Module.named_parameters,
            not all(tells_only_its_own(kind, name) for name in _TOLD),
        )


def uses_of(model: nn.Module) -> Uses:
    """All uses of parameters, in the order of ``named_modules``.

    That and ``named_parameters`` are generators within one another, one a level: they take longer than a fill.
    """
    root = Like()
    uses: list[Use] = []
    telling: list[nn.Module] = []
    ways: dict[type[nn.Module], _Way] = {}
    left: list[tuple[nn.Module, str, str, Like, int | None]] = [(model, "", "", root, None)]  # names end in a dot
    while left:
        module, name, path, like, block = left.pop()
        way = ways.get(type(module))
        if way is None:
            way = ways[type(module)] = _Way.of(type(module))
        by_modules, by_parameters, tells = way
        if not by_modules:
            inside = every(module)
            ways |= {kind: _Way.of(kind) for kind in set(map(type, inside))}
            telling += [*having(inside, CONFIG), *having(inside, LOCAL_EXPERTS)]
            for prefix, owner in module.named_modules(prefix=path[:-1], remove_duplicate=False):
                uses += _named(owner, prefix, root)
            continue
        own, buffers = module.__dict__, module._buffers
        if tells or CONFIG in own or LOCAL_EXPERTS in own or (buffers and not _TOLD.isdisjoint(buffers)):
            telling.append(module)
        if not by_parameters:
            uses += _named(module, path[:-1], root)
        elif module._parameters:
            for leaf, parameter in module._parameters.items():
                if parameter is not None:
                    _, last, there, number, plain = like.steps.get(leaf) or like.step(leaf)
                    full = name + last if last else canonical_name(path + leaf)
                    through = full if plain and path is name else path + leaf
                    uses.append((parameter, module, full, through, there, number if block is None else block))
        if module._modules:
            for leaf, child in reversed(module._modules.items()):
                if child is not None:
                    added, _, there, number, plain = like.steps.get(leaf) or like.step(leaf)
                    below = name + added
                    through = below if plain and path is name else f"{path}{leaf}."
                    left.append((child, below, through, there, number if block is None else block))
    return Uses(uses, set(ways), telling)


def _named(owner: nn.Module, prefix: str, root: Like) -> Iterator[Use]:
    """The uses of a module's own parameters, as torch's generators have them."""
    for path, parameter in owner.named_parameters(prefix=prefix, recurse=False):
        name = canonical_name(path)
        like, block = root.of(name)
        yield parameter, owner, name, path, like, block
