"""A test of a user gets the fixtures without an import, from the package's entry point."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USERS_TEST = """
from typing import TypedDict
from orchestrator import START, RetryPolicy, StateGraph

class State(TypedDict, total=False):
    attempts: int

def charge(state, ctx):
    if ctx.attempt == 1:
        raise ConnectionError("lost")
    return {"attempts": ctx.attempt}

def builder():
    retry = RetryPolicy(initial_interval=60, jitter=False)
    made = StateGraph(State).add_node("charge", charge, retry_policy=retry)
    return made.add_edge(START, "charge")

def test_a_minute_passes_at_once(compile_graph, graph_clock):
    began = graph_clock.now_ms()
    assert compile_graph(builder()).invoke({}, "t") == {"attempts": 2}
    assert graph_clock.now_ms() - began == 60_000

def test_each_test_has_an_empty_store(compile_graph, graph_checkpointer):
    graph = compile_graph(builder(), name="orders")
    assert graph.checkpointer is graph_checkpointer
    assert graph.get_state("t").values == {}
"""


@pytest.fixture
def installed(tmp_path):
    """Return a folder that says to Python what an installed graphstalk does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [(name, target)] = project["entry-points"]["pytest11"].items()
    about = tmp_path / "site" / "graphstalk_of_this_tree-0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: graphstalk-of-this-tree\nVersion: 0\n"
    )
    (about / "entry_points.txt").write_text(f"[pytest11]\n{name} = {target}\n")
    return about.parent


def test_the_fixtures_are_there_where_the_package_is_installed(installed, tmp_path):
    test = tmp_path / "test_of_a_user.py"
    test.write_text(USERS_TEST)
    paths = os.pathsep.join([str(installed), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_plugin_imports_no_engine_before_a_test_asks():
    code = "import sys, orchestrator.testing.pytest_plugin as p; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "orchestrator.testing.pytest_plugin" in loaded
    assert loaded.isdisjoint({"orchestrator.client", "orchestrator.checkpointer.memory", "celery"})
