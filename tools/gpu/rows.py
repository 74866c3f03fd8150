"""rows.jsonl: one JSON object a line, appended as soon as there is something to tell, and never edited.

A row has a ``kind``: "run" (a call of the command, and the machine), "began" and "case" (a case of a step when it begins, and what
became of it), "step" (how a step ended). Every row has the commit and the time.
"""

import json
import os
from collections.abc import Iterable
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

from bench.rows import commit as commit_of_tree

Row = dict[str, Any]
commit = cache(commit_of_tree)
ROOF, DEFAULT = "fill_", "as it is"  # of a case of the sweep, the figures that are no variant's


class File:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, kind: str, **columns: Any) -> None:
        """One write, so that rows of several processes do not mix."""
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        line = json.dumps({"kind": kind, **columns, "commit": commit(), "date": now}, default=str) + "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def read(self) -> list[Row]:
        """The rows of this commit, oldest first."""
        rows = []
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # cut off together with the machine
            if row["commit"] == commit():
                rows.append(row)
        return rows


def cases(rows: Iterable[Row], step: str) -> dict[str, Row]:
    """What became of each case of a step that has come to an end, by name; of one that ran again, the last."""
    return {row["case"]: row for row in rows if row["kind"] == "case" and row["step"] == step}


def unfinished(rows: Iterable[Row], step: str, worker: int) -> str | None:
    """The case that a worker was at, at the end of these rows."""
    case = None
    for row in rows:
        if row.get("step") == step and row.get("worker") == worker:
            case = row["case"] if row["kind"] == "began" else None
    return case
