"""What init_model_ did and what verify_model_ found: one row a parameter, as a table and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.transformed import Constant, InverseSoftplusOfLogUniform, LogOfUniform
from fastinit.model.columns import columns, records
from fastinit.model.planned import Planned
from fastinit.model.tiles import Computed, Content, Fixed, Tiled
from fastinit.shard.geometry import Shape
from fastinit.shard.kinds import Kind
from fastinit.stream import Key
from fastinit.version import STREAM_VERSION


class Row(NamedTuple):
    """One parameter: what it is, what it is filled with, and which part of it this rank holds."""

    name: str
    tied: tuple[str, ...]
    role: str
    law: Content | None
    key: Key
    dtype: str
    global_shape: Shape
    local_shape: Shape
    placements: str
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        local = "" if self.local_shape == self.global_shape else shape_text(self.local_shape)
        shapes = (shape_text(self.global_shape), local, self.placements)
        return (self.name, self.role, law_text(self.law), f"{self.key.stream:016x}", self.dtype, *shapes, self.note)

    def as_json(self) -> dict[str, Any]:
        """The row as JSON has it."""
        row = {**self._asdict(), "law": law_json(self.law), "key": asdict(self.key)}
        return row if self.note else {name: value for name, value in row.items() if name != "note"}


_SHOWN = 4  # names of modules; a model may have thousands


def row_of(planned: Planned) -> Row:
    """The row of a parameter that is filled as planned."""
    return rows_of([planned])[0]


def rows_of(plan: Sequence[Planned]) -> tuple[Row, ...]:
    """The rows of all parameters of a plan."""
    parts, roles, laws, notes = columns(plan, 4)
    found, keys, shards = columns(parts, 3)
    kinds = [part.kind or Kind.of(part.parameter) for part in found]
    return tuple(
        records(
            Row,
            [part.name for part in found],
            [part.tied for part in found],
            roles,
            laws,
            keys,
            [kind.dtype for kind in kinds],
            [shard.global_shape if shard else kind.global_shape for shard, kind in zip(shards, kinds, strict=True)],
            [kind.local_shape for kind in kinds],
            [kind.placements for kind in kinds],
            notes,
        )
    )


_HEADER = ("parameter", "role", "law", "stream", "dtype", "shape", "local", "placements", "note")


@dataclass(frozen=True, slots=True)
class Report:
    """What a model was filled with. ``packed`` are modules whose weights are no parameters, and were left as they are.

    >>> print(init_model_(model, "llama", seed=0))  # doctest: +SKIP
    parameter                   role               law                   stream            dtype     shape      ...
    embeddings.weight           embedding          normal, std 1         6bf1c5a9b8d0c6a4  bfloat16  50304x2048
    """

    method: str
    seed: int
    rows: tuple[Row, ...]
    packed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = table(_HEADER, [row.cells() for row in self.rows]) + _packed_text(self.packed, "left as they are")
        return "\n".join([text, *self.notes])

    def __getitem__(self, name: str) -> Row:
        return next(row for row in self.rows if name in (row.name, *row.tied))

    def to_json(self) -> str:
        """Everything, with the version of the stream contract, as indented JSON."""
        content = {"stream_version": STREAM_VERSION, "method": str(self.method), "seed": self.seed}
        rows = [row.as_json() for row in self.rows]
        return json.dumps({**content, "parameters": rows, "packed": self.packed}, indent=1)


class Checked(NamedTuple):
    """One parameter, compared with its regenerated values; ``first`` is the index of the first that differs."""

    name: str
    elements: int
    differing: int
    first: Shape | None


@dataclass(frozen=True, slots=True)
class Verification:
    """Which parameters hold other bits than the seed gives, in the part that this rank has. True when none does.

    ``packed`` are modules whose weights are no parameters: nothing is known of those.
    """

    rows: tuple[Checked, ...]
    packed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.different

    @property
    def different(self) -> tuple[Checked, ...]:
        """The rows of parameters that differ."""
        return tuple(row for row in self.rows if row.differing)

    def __str__(self) -> str:
        elements = sum(row.elements for row in self.rows)
        lines = [
            f"{row.name}: {row.differing:,} of {row.elements:,} elements differ, the first at {list(row.first or ())}"
            for row in self.different
        ]
        if not self.rows:
            lines = ["no parameter was compared, as there is none"]
        elif self:
            lines = [f"all bits of {elements:,} elements in {len(self.rows)} parameters are those of the seed"]
        return "\n".join(lines) + _packed_text(self.packed, "not compared")

    def to_json(self) -> str:
        """Every row, as indented JSON."""
        rows = [row._asdict() for row in self.rows]
        return json.dumps({"stream_version": STREAM_VERSION, "parameters": rows, "packed": self.packed}, indent=1)


def _packed_text(packed: tuple[str, ...], what: str) -> str:
    """A line on the modules whose weights are no parameters; none where there are none."""
    if not packed:
        return ""
    more = [f"{len(packed) - _SHOWN} more"] if len(packed) > _SHOWN else []
    names = ", ".join([*packed[:_SHOWN], *more])
    return f"\n{len(packed)} modules hold weights that are no parameters, {what}: {names}"


def shape_text(shape: Shape) -> str:
    """The shape for people.

    >>> shape_text((64, 2048, 1024))
    '64x2048x1024'
    """
    return "x".join(map(str, shape)) or "scalar"


_WORDS = {
    TruncatedNormal: "normal",
    Normal: "normal",
    Uniform: "uniform",
    LogOfUniform: "log of a uniform",
    InverseSoftplusOfLogUniform: "log-uniform time step",
}


def law_text(law: Content | None) -> str:
    """The law for people.

    >>> law_text(TruncatedNormal(0.0, 0.02, -0.06, 0.06))
    'normal in [-0.06, 0.06], std 0.02'
    """
    if law is None:
        return "untouched"
    if isinstance(law, Tiled):
        return " and ".join(dict.fromkeys(law_text(tile.law) for tile in law.tiles))
    if isinstance(law, Computed | Fixed):
        return "computed"
    if isinstance(law, Constant):
        return f"constant {law.value:g}"
    interval = f" in [{law.a:.6g}, {law.b:.6g}]" if hasattr(law, "a") and hasattr(law, "b") else ""
    std = f", std {law.std:.6g}" if hasattr(law, "std") else ""
    return _WORDS[type(law)] + interval + std


def law_json(law: Content | None) -> dict[str, Any] | None:
    """The law as JSON has it: its name and its numbers.

    >>> law_json(Normal(0.0, 0.02))
    {'name': 'Normal', 'mean': 0.0, 'std': 0.02}
    """
    if law is None:
        return None
    if isinstance(law, Tiled):
        return {"name": "Tiled", "tiles": [{**asdict(tile), "law": law_json(tile.law)} for tile in law.tiles]}
    if isinstance(law, Computed | Fixed):
        return {"name": "Computed"}
    return {"name": type(law).__name__, **asdict(law)}


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()) -> str:
    """The rows under the header, in columns; those named in ``numbers`` are aligned on the right, empty ones left out.

    >>> print(table(["kind", "count"], [["norm", "16"], ["q", "4"]], numbers=["count"]))
    kind  count
    norm     16
    q         4
    """
    kept = [column for column in zip(header, *rows, strict=True) if not rows or any(column[1:])]
    widths = [max(map(len, column)) for column in kept]
    padded = [
        [cell.rjust(width) if column[0] in numbers else cell.ljust(width) for cell in column]
        for column, width in zip(kept, widths, strict=True)
    ]
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))
