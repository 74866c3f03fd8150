"""The README's tables, written between their markers from the rows on file and from the law's enumeration."""

from pathlib import Path

from bench import rows

README = Path(__file__).parents[1] / "README.md"


def performance_table() -> str:
    """The last run of the micro benchmark: ns an element of both, and their ratio."""
    found = rows.read("micro")
    run = ("device", "commit", "date")
    last = [row for row in found if all(row[column] == found[-1][column] for column in run)]
    at = {(row["fill"], row["provider"], row["dtype"]): float(row["ns_per_element"]) for row in last}
    head = last[-1]
    lines = [
        (
            f"{int(head['elements']):,} elements, {head['device']}, {head['threads']} threads, torch {head['torch']}, numba "
            f"{head['numba']}, {head['date']}; medians, ns an element."
        ),
        "",
        "| fill | dtype | fastinit | `torch.nn.init` | ratio |",
        "|---|---|---|---|---|",
    ]
    for fill, provider, dtype in at:
        if provider == "fastinit":
            ours, theirs = at[fill, "fastinit", dtype], at[fill, "torch", dtype]
            lines.append(f"| `{fill}` | {dtype} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f}x |")
    return "\n".join(lines)


def write() -> None:
    """Put each table between its markers."""
    text = README.read_text()
    for name, table in (("performance", performance_table()), ("law", (rows.RESULTS / "law.md").read_text().strip())):
        begin, end = f"<!-- {name}: generated -->\n", f"\n<!-- end of {name} -->"
        if begin not in text or end not in text:
            raise SystemExit(f"README.md has no markers for {name}")
        text = text[: text.index(begin) + len(begin)] + table + text[text.index(end) :]
    README.write_text(text)
