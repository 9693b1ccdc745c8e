"""Copies of the tree with something broken in them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Edit", "broken_copy", "environment"]

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Edit:
    """A piece of a file that becomes another one."""

    file: str
    old: str
    new: str


@contextmanager
def broken_copy(edits: Sequence[Edit], name: str) -> Iterator[Path]:
    """Make a copy of the tree with these edits, for the length of a block."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis")
        shutil.copytree(ROOT, tree, ignore=ignored)
        for edit in edits:
            source = (tree / edit.file).read_text("utf-8")
            assert source.count(edit.old) == 1, f"{name}: its code is not there once: {edit.old}"
            (tree / edit.file).write_text(source.replace(edit.old, edit.new), "utf-8")
        yield tree


def environment(tree: Path) -> dict[str, str]:
    """Return the environment in which Python imports from a copy."""
    return {**os.environ, "PYTHONPATH": str(tree)}
