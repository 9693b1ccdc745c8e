"""How the numbers of many sources add up to those of a package and of the whole census.

Rule 1: a source that cannot be read or parsed is counted as unreadable; it never stops the census.
Rule 2: numbers add up in any grouping: the sum of the parts is the sum of the whole.
Rule 3: a summary stays small: it counts everything and names only the worst (`KEPT_MAX`).
Rule 4: a summary is plain data, so that it can be stored, and the same sources give the same one.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from examples.census.source import Findings, Function, SourceError, examine

__all__ = [
    "COUNTS",
    "Census",
    "Summary",
    "Threshold",
    "add_up",
    "combine",
    "is_over",
    "measure",
    "read_threshold",
]

COUNTS = (
    "files",
    "unreadable",
    "lines",
    "code",
    "comments",
    "classes",
    "functions",
    "complexity",  # The sum over all functions.
    "over",  # Functions over the threshold.
    "documentable",
    "documented",
)
KEPT_MAX = 5  # Functions and unreadable files that a package's summary names.
LISTED_MAX = 12  # Packages, functions and unreadable files that the whole census names.
SOURCE_BYTES_MAX = 5_000_000  # A larger file is data, and its tree takes 100 times as much memory.


class Threshold(TypedDict):
    """The greatest complexity and length of a function that pass without a review."""

    complexity: int
    lines: int


DEFAULT_THRESHOLD = Threshold(complexity=40, lines=250)


class Summary(TypedDict):
    """The numbers of a package, of a part of one, or of all of them."""

    name: str
    part: int
    counts: dict[str, int]  # One number for each of `COUNTS`.
    most_complex: list[Function]
    longest: list[Function]
    unreadable: list[str]  # "path: what went wrong"


class Census(TypedDict):
    """The numbers of everything that was counted."""

    total: Summary  # Named after the folder; of one package it names at most `KEPT_MAX` functions.
    packages: int
    largest: list[Summary]  # The packages with the most lines, numbers only.


def read_threshold(value: object) -> Threshold:
    """Return a threshold from a caller's input; what it leaves out has its default.

    Raises:
        ValueError: when it is not a dict of whole numbers above zero under a threshold's keys.
    """
    if not isinstance(value, dict) or not value.keys() <= DEFAULT_THRESHOLD.keys():
        message = f"threshold must be a dict like {DEFAULT_THRESHOLD}, not {value!r}"
        raise ValueError(message)
    for key, limit in value.items():
        if type(limit) is not int or limit < 1:
            message = f"threshold: {key} must be a whole number above zero, not {limit!r}"
            raise ValueError(message)
    return Threshold(**{**DEFAULT_THRESHOLD, **value})


def measure(name: str, part: int, root: str, files: list[str], threshold: Threshold) -> Summary:
    """Measure `files`, which are paths below `root`, and add them up."""
    return combine(name, (_measure_file(root, file, threshold) for file in files), part=part)


def combine(
    name: str, summaries: Iterable[Summary], *, part: int = 0, kept_max: int = KEPT_MAX
) -> Summary:
    """Add summaries up; of all that they name, keep the `kept_max` worst of each kind."""
    whole = _summary(name, part)
    for summary in summaries:
        for count in COUNTS:
            whole["counts"][count] += summary["counts"][count]
        whole["most_complex"] += summary["most_complex"]
        whole["longest"] += summary["longest"]
        whole["unreadable"] += summary["unreadable"]
    whole["most_complex"] = sorted(whole["most_complex"], key=_by_complexity)[:kept_max]
    whole["longest"] = sorted(whole["longest"], key=_by_length)[:kept_max]
    whole["unreadable"] = sorted(whole["unreadable"])[:kept_max]
    return whole


def add_up(root: str, summaries: Iterable[Summary]) -> Census:
    """Add the summaries of all packages, or of their parts, up to the census of `root`."""
    parts: dict[str, list[Summary]] = {}
    for summary in summaries:
        parts.setdefault(summary["name"], []).append(summary)
    packages = [combine(name, parts[name]) for name in sorted(parts)]
    largest = sorted(packages, key=lambda package: -package["counts"]["lines"])[:LISTED_MAX]
    return Census(
        total=combine(root, packages, kept_max=LISTED_MAX),
        packages=len(packages),
        largest=[combine(package["name"], [package], kept_max=0) for package in largest],
    )


def is_over(function: Function, threshold: Threshold) -> bool:
    """Return whether a function is more complex or longer than the threshold allows."""
    return (
        function["complexity"] > threshold["complexity"] or function["lines"] > threshold["lines"]
    )


def _measure_file(root: str, file: str, threshold: Threshold) -> Summary:
    summary = _summary(file, 0)
    counts = summary["counts"]
    counts["files"] = 1
    try:
        findings = examine(_read(Path(root, file)), file)
    except (OSError, SourceError) as error:
        reason = str(error) if isinstance(error, SourceError) else type(error).__name__
        counts["unreadable"] = 1
        summary["unreadable"] = [f"{file}: {reason}"]
        return summary
    _count(findings, threshold, counts)
    summary["most_complex"] = sorted(findings.functions, key=_by_complexity)[:KEPT_MAX]
    summary["longest"] = sorted(findings.functions, key=_by_length)[:KEPT_MAX]
    return summary


def _count(findings: Findings, threshold: Threshold, counts: dict[str, int]) -> None:
    counts["lines"] = findings.lines
    counts["code"] = findings.code
    counts["comments"] = findings.comments
    counts["classes"] = findings.classes
    counts["functions"] = len(findings.functions)
    counts["complexity"] = sum(function["complexity"] for function in findings.functions)
    counts["over"] = sum(is_over(function, threshold) for function in findings.functions)
    counts["documentable"] = findings.documentable
    counts["documented"] = findings.documented


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        source = file.read(SOURCE_BYTES_MAX + 1)
    if len(source) > SOURCE_BYTES_MAX:
        message = f"larger than {SOURCE_BYTES_MAX:,} bytes"
        raise SourceError(message)
    return source


def _summary(name: str, part: int) -> Summary:
    counts = dict.fromkeys(COUNTS, 0)
    return Summary(name=name, part=part, counts=counts, most_complex=[], longest=[], unreadable=[])


def _by_complexity(function: Function) -> tuple[int, int, str, int, str]:
    place = (function["file"], function["line"], function["name"])
    return (-function["complexity"], -function["lines"], *place)


def _by_length(function: Function) -> tuple[int, int, str, int, str]:
    place = (function["file"], function["line"], function["name"])
    return (-function["lines"], -function["complexity"], *place)
