"""What type checkers say of users' code: nothing where it is right, each mistake elsewhere."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RIGHT, WRONG = HERE / "right.py", HERE / "wrong.py"
ERROR = re.compile(r"(\w+)\.py:(\d+):(?:\d+)?.*error")


def errors(command: Sequence[str], folder: Path) -> set[tuple[str, int]]:
    """Run a checker; return the file and line of each error."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path))}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    print(done.stdout)
    found = (ERROR.search(line) for line in done.stdout.splitlines())
    return {(match[1], int(match[2])) for match in found if match}


def expected() -> set[tuple[str, int]]:
    lines = WRONG.read_text("utf-8").splitlines()
    return {("wrong", n) for n, line in enumerate(lines, 1) if line.endswith("# wrong")}


def test_mypy_finds_each_mistake_of_users_and_nothing_else(tmp_path: Path) -> None:
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\n", "utf-8")
    command = ["mypy", f"--config-file={config}", f"--cache-dir={tmp_path}", str(RIGHT), str(WRONG)]
    assert errors(command, ROOT) == expected()


def test_pyright_finds_each_mistake_of_users_and_nothing_else(tmp_path: Path) -> None:
    if importlib.util.find_spec("basedpyright") is None:
        assert not os.environ.get("CI"), "basedpyright must be installed in CI"
        pytest.skip("basedpyright is not installed")
    config = {
        "include": [str(HERE)],
        "extraPaths": [str(ROOT), *filter(None, sys.path)],
        "typeCheckingMode": "standard",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config), "utf-8")
    command = ["basedpyright", "-p", str(tmp_path), "--pythonpath", sys.executable]
    assert errors(command, tmp_path) == expected()


def test_type_parameters_mean_nothing_at_run_time() -> None:
    from typing import TypedDict

    from orchestrator import START, CompiledStateGraph, StateGraph

    class State(TypedDict):
        n: int

    class Own(StateGraph[State]):
        pass

    for cls in (StateGraph[State], StateGraph[State, None, State, State], Own):
        builder = cls(State).add_node("add", lambda state: {"n": state["n"] + 1})
        graph = builder.add_edge(START, "add").compile()
        assert type(builder) in {StateGraph, Own}
        assert isinstance(graph, CompiledStateGraph)
        assert graph.copy().invoke({"n": 1}) == {"n": 2}
