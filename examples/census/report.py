"""A census as Markdown."""

from collections.abc import Iterable

from examples.census.folder import SKIPPED_FOLDERS
from examples.census.review import Verdict
from examples.census.source import Function
from examples.census.summary import Census, Summary, Threshold

__all__ = ["documented", "headline", "printable", "write"]


def write(census: Census, threshold: Threshold, verdict: Verdict | None) -> str:
    """Write the report; the same census gives the same text."""
    total = census["total"]
    sections = [
        [f"# Code census of {_code(total['name'])}", "", f"{headline(census)}."],
        _section("Largest packages", _package_table(census)),
        _section("Most complex functions", _function_table(total["most_complex"])),
        _section("Longest functions", _function_table(total["longest"])),
        _section("Unreadable files", _unreadable(total)),
        _section("Review", _review(total["counts"]["over"], threshold, verdict)),
        [f"Not counted: hidden names and {', '.join(map(_code, sorted(SKIPPED_FOLDERS)))}."],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def headline(census: Census) -> str:
    """Say in one line how much was counted."""
    counts = census["total"]["counts"]
    numbers = {
        "package": census["packages"],
        "file": counts["files"],
        "line": counts["lines"],
        "function": counts["functions"],
    }
    said = [f"{count:,} {noun}{'' if count == 1 else 's'}" for noun, count in numbers.items()]
    return ", ".join(said) + f"; over the threshold: {counts['over']:,}"


def documented(counts: dict[str, int]) -> str:
    """Return the share of what could have a docstring and does; a dash where nothing could."""
    documentable = counts["documentable"]
    return f"{counts['documented'] / documentable:.0%}" if documentable else "–"


def printable(text: str) -> str:
    """Replace what cannot be shown: a file may be named anything, also in control characters."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", *lines] if lines else []


def _package_table(census: Census) -> list[str]:
    header = ["package", "files", "lines", "code", "comments", "functions"]
    header += ["mean complexity", "documented"]
    rows = ((package["name"], package["counts"]) for package in census["largest"])
    cells = [(_code(name), *_cells(counts)) for name, counts in rows]
    if census["packages"] > 1:
        cells.append(("**all**", *_cells(census["total"]["counts"])))
    return _table(header, cells)


def _cells(counts: dict[str, int]) -> tuple[str, ...]:
    numbers = (f"{counts[key]:,}" for key in ("files", "lines", "code", "comments", "functions"))
    return (*numbers, _mean_complexity(counts), documented(counts))


def _function_table(functions: list[Function]) -> list[str]:
    if not functions:
        return []
    cells = [
        (
            _code(function["name"]),
            _code(f"{function['file']}:{function['line']}"),
            f"{function['complexity']:,}",
            f"{function['lines']:,}",
        )
        for function in functions
    ]
    return _table(["function", "where", "complexity", "lines"], cells, text_columns=2)


def _unreadable(total: Summary) -> list[str]:
    if not total["counts"]["unreadable"]:
        return []
    named = [f"- {_code(entry)}" for entry in total["unreadable"]]
    return [f"Could not be read or parsed: {total['counts']['unreadable']:,}.", "", *named]


def _review(over: int, threshold: Threshold, verdict: Verdict | None) -> list[str]:
    limits = f"complexity {threshold['complexity']}, length {threshold['lines']} lines"
    if verdict is None:
        return [f"No function is over the threshold ({limits})."]
    decision = {"accept": "Accepted", "flag": "Flagged"}[verdict["decision"]]
    lines = [f"Functions over the threshold ({limits}): {over:,}. **{decision}.**"]
    if verdict["note"]:
        lines += ["", *(f"> {line}" for line in verdict["note"].splitlines())]
    return lines


def _table(header: list[str], rows: Iterable[tuple[str, ...]], text_columns: int = 1) -> list[str]:
    rules = ["---" if index < text_columns else "---:" for index in range(len(header))]
    return [f"| {' | '.join(cells)} |" for cells in (header, rules, *rows)]


def _mean_complexity(counts: dict[str, int]) -> str:
    return f"{counts['complexity'] / counts['functions']:.1f}" if counts["functions"] else "–"


def _code(text: str) -> str:
    # In a table's code span, these two would end the cell or the span.
    return f"`{printable(text).replace('`', chr(39)).replace('|', '¦')}`"
