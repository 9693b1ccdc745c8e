"""A test of a user gets the fixtures without an import, from the package's entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fixtures.newcomer import entry_points

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


def test_the_fixtures_are_there_where_the_package_is_installed(tmp_path):
    test = tmp_path / "test_of_a_user.py"
    test.write_text(USERS_TEST)
    paths = os.pathsep.join([str(entry_points(tmp_path)), str(ROOT)])
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
