"""The SQL statements, read from the files beside this one.

Each begins with a line `-- name: <name>`. What varies is bound: no text of a statement is ever made
from data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

__all__ = ["script", "statements"]

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def script(name: str) -> str:
    """Return a whole file of statements."""
    return resources.files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def statements(name: str) -> Mapping[str, str]:
    """Return the statements of a file by their names."""
    _, *parts = _NAME.split(script(name))
    return {key: text.strip() for key, text in zip(parts[::2], parts[1::2], strict=True)}
