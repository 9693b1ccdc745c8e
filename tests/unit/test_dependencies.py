"""What an installation needs is declared, not found by chance beside other tools."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
NAME = re.compile(r"[A-Za-z0-9_.-]+")


def name_of(requirement: str) -> str:
    found = NAME.match(requirement)
    assert found is not None
    return found[0].lower()


def test_what_the_broker_transport_for_redis_imports_is_a_dependency() -> None:
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    declared = {name_of(requirement) for requirement in project["dependencies"]}
    wanted = re.compile(r"extra == ['\"]redis['\"]")
    needed = {name_of(each) for each in metadata.requires("kombu") or () if wanted.search(each)}
    assert needed <= declared
