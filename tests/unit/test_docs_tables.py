"""Reference pages list exactly what the code has."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import orchestrator
import workers
from orchestrator.cli import findings
from orchestrator.client.explaining import ReasonCode
from orchestrator.config import Settings
from orchestrator.errors import GraphstalkError
from orchestrator.model.audit import DamageCode
from orchestrator.model.lifecycle import RUNS, STEPS, diagram

ROOT = Path(__file__).resolve().parents[2]
HEAD = re.compile(r"^## (.+)$", re.MULTILINE)
FINDING = re.compile(r'"([A-Z][A-Z_]+)"')


def subclasses(of: type) -> Iterator[type]:
    for child in of.__subclasses__():
        yield child
        yield from subclasses(child)


def codes_of_errors() -> set[str]:
    for package in (orchestrator, workers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", "workers.app", "bootsteps", "tasks")):
                importlib.import_module(module.name)
    ours = ("orchestrator.", "workers.")
    return {each.code for each in subclasses(GraphstalkError) if each.__module__.startswith(ours)}


def sections(page: str) -> dict[str, str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    _, *parts = HEAD.split(text)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def listed(section: str) -> set[str]:
    """Return the codes in the first cells of a section's tables."""
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {code for row in rows for code in re.findall(r"`([A-Z][A-Z_]+)`", row)}


def test_the_page_of_errors_has_each_code_of_an_error() -> None:
    assert listed(sections("errors.md")["Errors"]) == codes_of_errors() - {GraphstalkError.code}


def test_the_page_of_errors_has_each_reason_of_explain() -> None:
    assert listed(sections("errors.md")["Reasons of `explain`"]) == set(ReasonCode)


def test_the_page_of_errors_has_each_damage() -> None:
    assert listed(sections("errors.md")["Damage of threads"]) == {*DamageCode, ReasonCode.NO_GRAPH}


def test_the_page_of_errors_has_each_finding_of_the_doctor() -> None:
    source = Path(findings.__file__).read_text(encoding="utf-8")
    assert listed(sections("errors.md")["Findings of `doctor`"]) == set(FINDING.findall(source))


VARIABLE = re.compile(r"\b(?:GRAPHSTALK_[A-Z_]+[A-Z]|REDIS_URL|CELERY_BROKER_URL)\b")
ROW = re.compile(r"^\| `([A-Z_]+)` \| `([a-z_]+)` \| (.*?) \|", re.MULTILINE)


def page_of_settings() -> str:
    return (ROOT / "docs/settings.md").read_text(encoding="utf-8")


def test_the_page_of_settings_has_each_variable_of_the_code() -> None:
    sources = [*(ROOT / "orchestrator").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]
    read = {name for path in sources for name in VARIABLE.findall(path.read_text("utf-8"))}
    assert read == set(VARIABLE.findall(page_of_settings())) - {"GRAPHSTALK_VENV"}


ODD_VALUES = {
    "GRAPHSTALK_BEAT_S": "0.7",  # Below the lease.
    "GRAPHSTALK_DISPATCH": "inline",
    "REDIS_URL": "redis://other:1/0",
}


def test_the_page_of_settings_has_each_field_with_its_variable() -> None:
    rows = {field: variable for variable, field, _ in ROW.findall(page_of_settings())}
    assert set(rows) == {field.name for field in dataclasses.fields(Settings)}
    for name, variable in rows.items():
        odd = ODD_VALUES.get(variable, "7")
        changed = Settings.from_env({variable: odd})
        assert getattr(changed, name) != getattr(Settings.from_env({}), name), variable


def test_the_page_of_settings_has_the_defaults() -> None:
    plain = Settings.from_env({})
    for _, name, shown in ROW.findall(page_of_settings()):
        if name not in {"broker_url", "state_dir"}:
            value = getattr(plain, name)
            text = value if isinstance(value, str) else f"{float(value):g}"
            assert f"`{text}`" == shown, name


def test_the_diagrams_of_states_are_those_of_the_tables() -> None:
    text = (ROOT / "docs" / "lifecycle.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^```mermaid\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)
    assert drawn == [diagram(RUNS), diagram(STEPS)]
