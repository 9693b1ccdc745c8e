"""Imports point down and the pure half is pure; the linter that says so can say no."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES, ROOT

_LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _LINT, "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_imports_point_down() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "line", "complaint"),
    [
        (
            "errors.py",
            "import orchestrator.graph.spec",
            "errors is not allowed to import orchestrator",
        ),
        ("channels/base.py", "import logging", "channels is not allowed to import logging"),
        ("channels/base.py", "import redis.client", "channels is not allowed to import redis"),
    ],
)
def test_the_linter_notices(tmp_path: Path, path: str, line: str, complaint: str) -> None:
    for folder in PACKAGES:
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "orchestrator" / path).open("a") as file:
        file.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert f"orchestrator.{complaint}" in done.stdout
