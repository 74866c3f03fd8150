"""The rules of this project that ruff does not know. Prints one line a breach and exits with 1 if there is any.

    python tools/lint.py [FILE...]

Without files it reads every Python file below the source folders.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("fastinit", "kernels", "tests", "tools", "bench", "examples")

# These return a bool, and a statement that drops it checks nothing. torch.testing.assert_close raises by itself.
SILENT_COMPARISONS = {"allclose", "equal", "array_equal", "isclose", "array_equiv"}
TOLERANCES = {"rtol", "atol", "abs", "rel"}
UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X])\b")


def breaches(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """(line, message) for each rule that the file breaks."""
    for number, line in enumerate(text.splitlines(), start=1):
        if UNFINISHED.search(line):
            yield number, "unfinished work belongs in an issue, not in a comment"
    in_tests = "tests" in path.parts
    if in_tests and path.name == "__init__.py":
        yield (
            1,
            "tests/ is no package: with an __init__.py the repository root, and so kernels/, lands on the import path",
        )
    for node in ast.walk(ast.parse(text, filename=str(path))):
        yield from _top_level_kernels(node)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _name(node.value) in SILENT_COMPARISONS:
            yield node.lineno, f"the result of {_name(node.value)}(...) is dropped: assert it"
        if in_tests and isinstance(node, ast.Call):
            yield from _literal_tolerances(node)


def _top_level_kernels(node: ast.AST) -> Iterator[tuple[int, str]]:
    message = "a Hugging Face package is called kernels: import fastinit.kernels"
    if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "kernels" for alias in node.names):
        yield node.lineno, message
    if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "kernels":
        yield node.lineno, message


def _literal_tolerances(call: ast.Call) -> Iterator[tuple[int, str]]:
    comparison = _name(call) in SILENT_COMPARISONS | {"assert_close", "assert_allclose", "approx"}
    for keyword in call.keywords:
        zero = isinstance(keyword.value, ast.Constant) and keyword.value.value == 0
        literal = isinstance(keyword.value, ast.Constant | ast.UnaryOp | ast.BinOp) and not zero
        if comparison and keyword.arg in TOLERANCES and literal:
            yield keyword.value.lineno, f"{keyword.arg}= wants zero or a named budget"


def _name(call: ast.Call) -> str:
    """The last part of what is called: equal for torch.equal(...) and x.equal(...)."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def main(arguments: list[str]) -> int:
    paths = [Path(a) for a in arguments] or sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
    found = [(path, line, message) for path in paths for line, message in breaches(path, path.read_text("utf-8"))]
    for path, line, message in found:
        print(f"{path}:{line}: {message}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
