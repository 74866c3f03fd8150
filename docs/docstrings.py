"""Docstrings as markdown, for mkdocstrings: an example becomes a block of code, a role of Sphinx a name, 2**32 a power, and
arguments that share a line have one each."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|meth|mod|attr|data):`~?(?:[\w.]*\.)?(\w+)`")
_POWER = re.compile(r"``.*?``|(?<=\w)\*\*(-?\w+)")  # but not in code, nor the asterisks of a bold word
_DIRECTIVE = re.compile(r" *# doctest: .*")
_SECTION = re.compile(r"^( *)Args:\n(?:\1 +.*\n?)+", re.MULTILINE)
_SHARED = re.compile(r"^( +)(\w+), ([\w, ]+)(: .*\n(?:\1 +.*\n)*)", re.MULTILINE)


class Markdown(griffe.Extension):
    """Changes the text of each docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called with each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """The text with its examples between fences, from a prompt to the next empty line, and the rest as markdown has it."""
    lines: list[str] = []
    indent = None
    for line in _SECTION.sub(lambda found: _SHARED.sub(_apart, found[0]), text).splitlines():
        if indent is None and line.lstrip().startswith(">>> "):
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(f"{indent}```pycon")
        elif indent is not None and not line.strip():
            lines.append(f"{indent}```")
            indent = None
        lines.append(_prose(line) if indent is None else _DIRECTIVE.sub("", line))
    return "\n".join(lines if indent is None else [*lines, f"{indent}```"])


def _apart(found: re.Match[str]) -> str:
    """A line for each argument; the first has the text."""
    indent, first, others, text = found.groups()
    return f"{indent}{first}{text}" + "".join(f"{indent}{name}: see ``{first}``.\n" for name in others.split(", "))


def _prose(line: str) -> str:
    return _POWER.sub(lambda found: f"<sup>{found[1]}</sup>" if found[1] else found[0], _ROLE.sub(r"`\1`", line))
