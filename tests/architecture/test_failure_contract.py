"""The failure contract names tests that exist, and leaves out none that does a fault."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.architecture.source import ROOT

CONTRACT = ROOT / "docs" / "failure-contract.md"
NAMED = re.compile(r"`(?P<file>(?:[\w/]+/)?test_\w+\.py)?(?:::(?P<test>test_\w+))?`")


def named() -> set[tuple[Path, str]]:
    """Return the tests that the contract names; `::test_x` is in the file that was named last."""
    found, last = set(), Path()
    for match in NAMED.finditer(CONTRACT.read_text("utf-8")):
        if match["file"]:
            folder = ROOT if "/" in match["file"] else ROOT / "tests" / "faults"
            last = folder / match["file"]
        if match["file"] or match["test"]:
            found.add((last, match["test"] or ""))
    return found


def claims_of(path: Path) -> set[str]:
    """Return the names of the tests in a file."""
    tree = ast.parse(path.read_text("utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return {name for name in functions if name.startswith("test_")}


def test_every_test_that_the_contract_names_exists() -> None:
    missing = [
        f"{path.relative_to(ROOT)}::{test}"
        for path, test in named()
        if not path.is_file() or (test and test not in claims_of(path))
    ]
    assert not missing


def test_every_fault_that_is_tested_has_its_row() -> None:
    files = sorted((ROOT / "tests" / "faults").glob("test_*.py"))
    done = {(path, test) for path in files for test in claims_of(path)}
    assert len(done) > 30
    assert not sorted(f"{path.name}::{test}" for path, test in done - named())
