"""The output of commands: data on standard output, messages on standard error.

Rule 1: `--json` prints one object, or one object a line; its keys are stable and nothing else is
        printed there.
Rule 2: every value has a JSON form. What JSON lacks becomes the closest thing it has, never an
        error.
Rule 3: colour is for people: none when `NO_COLOR` is set or the output is no terminal.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

import click

COLUMN_GAP = "  "


def show(text: str) -> None:
    """Print data."""
    click.echo(text)


def show_json(value: object) -> None:
    """Print one JSON document on one line."""
    click.echo(json_line(value))


def say(text: str) -> None:
    """Print a message for the person at the terminal."""
    click.echo(text, err=True)


def colour_allowed(stream: TextIO | None = None) -> bool:
    """Whether to colour what goes to `stream` (https://no-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return (stream or sys.stdout).isatty()


def json_line(value: object) -> str:
    """Return `value` as one line of JSON."""
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))


def plain(value: object) -> Any:  # JSON is any; one return for each kind.
    """Return the closest thing to `value` that JSON can say."""
    match value:
        case None | bool() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case int():
            return int(value)
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(bytes(value)).decode("ascii")
        case Mapping():
            return {
                key if isinstance(key, str) else str(key): plain(item)
                for key, item in value.items()
            }
        case set() | frozenset():
            return sorted((plain(item) for item in value), key=json_line)
        case dt.date() | dt.time():
            return value.isoformat()
        case list() | tuple():
            return [plain(item) for item in value]
    from orchestrator.serde.codec import UnknownValue

    if isinstance(value, UnknownValue):
        return {"type": value.type, "value": plain(value.fields)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name)) for name in names}
    dump = getattr(value, "model_dump", None)
    return plain(dump(mode="json")) if callable(dump) else str(value)


def instant(ms: float | None) -> str:
    """Return a time in milliseconds since the epoch as people read it, in local time."""
    if not ms:
        return "-"
    return dt.datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def aligned(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table whose columns are as wide as their widest cell."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        COLUMN_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    if colour_allowed():
        lines[0] = click.style(lines[0], dim=True)
    return "\n".join(lines)
