"""What a run has found, as the table of targets, as text and as one object of JSON."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Iterator
from typing import Any

from benchmarks.contests import CONTESTS
from benchmarks.environments import versions
from benchmarks.peers.contract import ROOT
from benchmarks.running import Found
from benchmarks.servers import postgres_version
from benchmarks.statistics import percentile, ratios, summary
from benchmarks.targets import ROWS, Figure, Row

__all__ = ["as_json", "as_text", "judged", "numbers"]


def numbers(found: Found, figure: Figure) -> list[float]:
    """Return a figure's number in each round."""
    values = []
    for sample in found.of(figure.contest, figure.entry):
        value = sample.get(figure.metric)
        if isinstance(value, list):
            value = (
                percentile(value, figure.percent)
                if figure.percent is not None
                else statistics.median(value)
            )
        if value is not None:
            values.append(float(value))
    return values


def judged(row: Row, found: Found, *, full: bool) -> dict[str, Any]:
    """Return what a row came to: `value` and `ok` are null where it was not measured."""
    rule = {"target": row.target, "holds": row.holds, "says": row.says}
    tops = numbers(found, row.top)
    bottoms = numbers(found, row.bottom) if row.bottom else []
    values = ratios(tops, bottoms) if row.bottom else tops
    if not values:
        return {"value": None, "ok": None, **rule, "n": 0, "reason": _reason(row, found)}
    short = summary(values)
    told = {
        "value": short.median,
        **rule,
        "ok": row.keeps(short.median),
        "n": short.n,
        "median": short.median,
        "spread": [short.least, short.greatest],
        "top": statistics.median(tops),
        **({"bottom": statistics.median(bottoms)} if bottoms else {}),
    }
    return told if full else told | _reduced(row)


def _reduced(row: Row) -> dict[str, Any]:
    """Say of a quick run what it did less of than the row says."""
    contest = next(each for each in CONTESTS if each.name == row.top.contest)
    less = {
        name: size
        for name, size in contest.quick.items()
        if name in {"depth", "threads"} and size < contest.full.get(name, size)
    }
    return {"reduced": less} if less else {}


def _reason(row: Row, found: Found) -> str:
    for figure in (row.top, row.bottom):
        if figure and (why := found.missing.get((figure.contest, figure.entry))):
            return f"{figure.entry}: {why}"
    return "not part of this run"


def as_text(found: Found, *, full: bool) -> Iterator[str]:
    """Give the lines of both tables: what was measured, then the targets."""
    for contest in CONTESTS:
        if not any(key[0] == contest.name for key in (*found.samples, *found.missing)):
            continue
        yield f"{contest.workload}  {contest.title}  ({contest.unit})"
        for entry in contest.entries:
            values = numbers(found, Figure(contest.name, entry.name, contest.metric))
            if values:
                short = summary(values)
                spread = f"({short.least:,.3g} to {short.greatest:,.3g}, n={short.n})"
                yield f"    {entry.name:46} {_number(short.median):>14}  {spread}"
            elif why := found.missing.get((contest.name, entry.name)):
                yield f"    {entry.name:46} {'not measured':>14}  {why}"
    yield ""
    yield f"{'target':34} {'value':>10} {'':9} {'limit':>7}"
    for row in ROWS:
        told = judged(row, found, full=full)
        if told["value"] is None:
            if told["reason"] != "not part of this run":
                yield f"{row.key:34} {'not measured':>10}  {told['reason']}"
            continue
        sign = "≤" if row.holds == "at most" else "≥"
        verdict = "ok" if told["ok"] else "MISSED"
        less = "".join(f"  ({name} {size:,})" for name, size in told.get("reduced", {}).items())
        yield f"{row.key:34} {_number(told['value']):>10} {verdict:9} {sign} {row.target:,g}{less}"


def _number(value: float) -> str:
    return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"


def as_json(found: Found, *, full: bool) -> dict[str, Any]:
    """Return the object that `--json` prints: a key for each row, then all figures."""
    figures: dict[str, dict[str, Any]] = {}
    for (contest, entry), samples in found.samples.items():
        told = figures.setdefault(contest, {}).setdefault(entry, {})
        for metric in samples[0]:
            values = numbers(found, Figure(contest, entry, metric))
            if values:
                short = summary(values)
                told[metric] = {
                    "median": short.median,
                    "spread": [short.least, short.greatest],
                    "n": short.n,
                }
    for (contest, entry), why in found.missing.items():
        figures.setdefault(contest, {})[entry] = {"not_measured": why}
    return {
        **{row.key: judged(row, found, full=full) for row in ROWS},
        "figures": figures,
        "full": full,
        "seconds": found.seconds,
        "machine": {**machine(), "load_before": found.load_before},
        "versions": {**versions(), "postgres": postgres_version()},
        "commit": commit(),
    }


def machine() -> dict[str, Any]:
    """Return what was measured on."""
    return {
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": os.cpu_count(),
    }


def commit() -> str:
    """Return the commit that was measured, marked if files differ from it; empty outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
