"""Docstrings as markdown, for mkdocstrings: an example becomes a block of code, and a role of Sphinx a name."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|meth|mod|attr|data):`~?(?:[\w.]*\.)?(\w+)`")


class Markdown(griffe.Extension):
    """Changes the text of each docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called with each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = fenced(_ROLE.sub(r"`\1`", obj.docstring.value))


def fenced(text: str) -> str:
    """The text with its examples between fences: from a prompt to the next empty line."""
    lines: list[str] = []
    indent = None
    for line in text.splitlines():
        if indent is None and line.lstrip().startswith(">>> "):
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(f"{indent}```pycon")
        elif indent is not None and not line.strip():
            lines.append(f"{indent}```")
            indent = None
        lines.append(line)
    return "\n".join(lines if indent is None else [*lines, f"{indent}```"])
