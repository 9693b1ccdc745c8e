"""What documents count is counted here, so that they cannot drift."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.model.checkpoint import RunStatus

ROOT = Path(__file__).resolve().parents[2]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_architecture_page_counts_the_methods_of_a_checkpointer() -> None:
    methods = [n for n, value in vars(Checkpointer).items() if callable(value) and n[0] != "_"]
    [written] = re.findall(r"has the contract in (\d+) methods", page("architecture.md"))
    assert int(written) == len(methods)


def test_the_glossary_names_every_status_of_a_run() -> None:
    [row] = [line for line in page("glossary.md").splitlines() if line.startswith("| run |")]
    named = re.findall(r"`(\w+)`", row)
    assert named == [status.value for status in RunStatus]


def test_every_decision_is_in_the_list_and_numbered_once() -> None:
    folder = ROOT / "docs" / "decisions"
    files = sorted(path.name for path in folder.glob("0*.md"))
    numbers = [name[:4] for name in files]
    assert len(set(numbers)) == len(numbers)
    listed = re.findall(r"\]\((0[^)]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert listed == files


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FILE = re.compile(r"`((?:\w+/)+(?:[\w.]+\.(?:py|lua|sql|toml))?)`")
NAME = re.compile(r"`((?:orchestrator|workers)(?:\.\w+)+)(?:\([^`]*)?`")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_names_only_files_and_modules_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    roots = [ROOT, ROOT / "orchestrator", ROOT / "tests" / "faults"]
    lost = [
        name for name in FILE.findall(text) if not any((root / name).exists() for root in roots)
    ]
    for name in NAME.findall(text):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            lost.append(name)
    assert lost == []
