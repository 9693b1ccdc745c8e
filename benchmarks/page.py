"""docs/benchmarks.md and its plots, written from one full run; the words are in page.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.contests import CONTESTS, Contest
from benchmarks.environments import OWN
from benchmarks.peers.contract import ROOT
from benchmarks.plots import Bar, bars, short_number
from benchmarks.report import numbers
from benchmarks.running import Found
from benchmarks.statistics import summary
from benchmarks.targets import ROWS, Figure

__all__ = ["PAGE", "as_page", "write"]

PAGE = ROOT / "docs" / "benchmarks.md"
_WORDS = Path(__file__).with_name("page.md")


def write(found: Found, told: dict[str, Any]) -> None:
    """Write the page, and a plot for each contest."""
    folder = PAGE.with_suffix("")
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for contest in CONTESTS:
        if plot := _plot(contest, found):
            (folder / f"{contest.name}.svg").write_text(plot, encoding="utf-8")
    PAGE.write_text(as_page(found, told), encoding="utf-8")


def as_page(found: Found, told: dict[str, Any]) -> str:
    """Return the page: the words, with the numbers of this run in their places."""
    words = _WORDS.read_text("utf-8")
    facts = {
        "{targets}": _targets(told),
        "{figures}": "\n\n".join(filter(None, (_figures(each, found) for each in CONTESTS))),
        "{machine}": _machine(told),
    }
    for place, text in facts.items():
        words = words.replace(place, text)
    return words


def _plot(contest: Contest, found: Found) -> str:
    rows = []
    for entry in contest.entries:
        values = numbers(found, Figure(contest.name, entry.name, contest.metric))
        if values:
            short = summary(values)
            ours = entry.peer in OWN
            rows.append(Bar(entry.name, short.median, short.least, short.greatest, ours))
    title = f"{contest.workload}: {contest.title}"
    return bars(title, contest.unit, rows, log=contest.log) if rows else ""


def _targets(told: dict[str, Any]) -> str:
    lines = ["| row | what | value | target | |", "|---|---|---|---|---|"]
    for row in ROWS:
        one = told[row.key]
        sign = "≤" if row.holds == "at most" else "≥"
        if one["value"] is None:
            value, verdict = "not measured", one["reason"]
        else:
            low, high = one["spread"]
            value = f"{one['value']:.4g} ({low:.4g} to {high:.4g}, n={one['n']})"
            verdict = "kept" if one["ok"] else "**missed**"
            less = (f"{name} {size:,}" for name, size in one.get("reduced", {}).items())
            verdict += "".join(f" ({each})" for each in less)
        lines.append(f"| `{row.key}` | {row.says} | {value} | {sign} {row.target:g} | {verdict} |")
    return "\n".join(lines)


def _figures(contest: Contest, found: Found) -> str:
    """Return a contest's part: its plot, and a table of everything that its entries said."""
    lines = []
    for entry in contest.entries:
        key = (contest.name, entry.name)
        if key in found.missing:
            lines.append(f"| {entry.name} | not measured: {found.missing[key]} |")
        elif key in found.samples:
            metrics = found.samples[key][0]
            told = (
                f"{name} {short_number(summary(values).median)}"
                for name in metrics
                if (values := numbers(found, Figure(*key, name)))
            )
            lines.append(f"| {entry.name} | {', '.join(told)} |")
    if not lines:
        return ""
    title = f"### {contest.workload}: {contest.title}"
    plot = f"![{contest.title}](benchmarks/{contest.name}.svg)"
    table = "\n".join(["| | medians |", "|---|---|", *lines])
    return f"{title}\n\n{plot}\n\n{table}"


def _machine(told: dict[str, Any]) -> str:
    machine, versions = told["machine"], told["versions"]
    names = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    busy = (
        ": it was busy with other work, so read ratios with care and single numbers not at all"
        if machine["load_before"] > 0.5
        else ""
    )
    size = "A full run" if told["full"] else "A quick run, of smaller sizes"
    return (
        f"{size}. {machine['cores']} cores, {machine['machine']}, {machine['system']}; load before "
        f"it began {machine['load_before']:.1f}{busy}. Commit `{told['commit']}`. {names}."
    )
