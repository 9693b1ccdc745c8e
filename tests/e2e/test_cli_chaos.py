"""Chaos, as a person uses it: on its own server and graph, on theirs, and when a thread strands."""

from __future__ import annotations

import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest
import redis

from orchestrator.cli.chaos.site import site
from orchestrator.cli.embedded import EmbeddedServer
from orchestrator.config import Settings
from tests.e2e.test_cli import graphstalk
from tests.e2e.test_cli_demo import demo_processes
from tests.fixtures.own_server import server_binary

pytestmark = [pytest.mark.server, pytest.mark.slow]

GRAPH = """
    import time
    from typing import TypedDict
    from orchestrator import START, StateGraph, interrupt

    class State(TypedDict, total=False):
        wait_s: float
        answer: str

    def work(state: State) -> State:
        time.sleep(state["wait_s"])
        return {}

    def ask(state: State) -> State:
        return {"answer": interrupt("?")}

    builder = StateGraph(State)
    builder.add_node("work", work)
    builder.add_node("ask", ask)
    builder.add_edge(START, "work")
    builder.add_edge("work", "ask")
    graph = builder.compile(name="mine")

    elsewhere = StateGraph(State)
    elsewhere.add_node("work", work, queue="cpu")
    elsewhere.add_edge(START, "work")
    placed = elsewhere.compile(name="placed")
"""


@pytest.fixture(autouse=True, scope="module")
def binary() -> Path:
    return server_binary()


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder with a graph of somebody's."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "mine.py").write_text(textwrap.dedent(GRAPH), "utf-8")
    return folder


def last_line(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def test_a_short_storm_of_all_kinds_of_faults_loses_nothing_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    temp = tmp_path / "tmp"
    temp.mkdir()
    arguments = ["--minutes", "0.2", "--fault-every", "0.6", "--seed", "96", "--json"]
    done = graphstalk("chaos", *arguments, TMPDIR=str(temp), MARK=str(temp))
    assert done.returncode == 0, done.stderr
    said = last_line(done.stdout)
    assert (said["lost"], said["duplicated"], said["stranded"]) == (0, 0, 0)
    assert (said["different"], said["gaps"], said["seed"]) == (0, 0, 96)
    assert said["commits"] > said["threads"] * 15 > 0
    assert said["faults"] == sum(said["faults_by_kind"].values()) > 3
    assert {"kill_keeper", "kill_process", "kill_server"} <= said["faults_by_kind"].keys()
    assert list(temp.iterdir()) == []
    assert demo_processes(temp) == []


def test_a_graph_of_somebody_runs_on_their_server_which_is_left_as_it_was(
    tmp_path: Path, theirs: Path
) -> None:
    with EmbeddedServer(tmp_path / "data") as server, redis.Redis.from_url(server.url) as client:
        client.set("theirs", "untouched")
        arguments = ["--graphs", "mine=mine:graph", "--input", '{"wait_s": 0.05}', "--json"]
        arguments += ["--url", server.url, "--minutes", "0.1", "--fault-every", "0.4"]
        done = graphstalk("chaos", *arguments, "--seed", "5", cwd=theirs)
        assert done.returncode == 0, done.stderr
        assert "never killed" in done.stderr
        said = last_line(done.stdout)
        assert said["threads"] > 0  # They wait for an answer: that is a place to rest.
        assert "kill_server" not in said["faults_by_kind"]
        assert (said["lost"], said["duplicated"], said["stranded"]) == (0, 0, 0)
        left = [key for key in client.scan_iter() if not key.startswith(b"_kombu.")]
        assert left == [b"theirs"]
        refused = ["--graphs", "placed=mine:placed", "--input", "{}", "--url", server.url]
        done = graphstalk("chaos", *refused, cwd=theirs)
        assert (done.returncode, "cpu" in done.stderr) == (2, True), done.stderr


def test_a_thread_that_does_not_come_to_rest_is_named_with_the_seed(
    tmp_path: Path, theirs: Path
) -> None:
    (theirs / "input.json").write_text('{"wait_s": 600}', "utf-8")
    arguments = ["--graphs", "mine=mine:graph", "--input", "@input.json", "--json", "--seed", "7"]
    arguments += ["--minutes", "0.05", "--settle", "1", "--threads", "1"]
    temp = tmp_path / "tmp"
    temp.mkdir()
    done = graphstalk("chaos", *arguments, cwd=theirs, TMPDIR=str(temp))
    assert done.returncode == 1, done.stderr
    assert last_line(done.stdout)["stranded"] == 1
    assert "chaos-000001: stranded" in done.stderr
    assert "--seed 7" in done.stderr
    (kept,) = temp.iterdir()  # For whoever wants to know why.
    events = (kept / "chaos-000001.events.jsonl").read_text("utf-8").splitlines()
    assert json.loads(events[0])["type"] == "run_accepted"
    shutil.rmtree(kept)


def test_a_server_of_its_own_carries_its_messages_whatever_broker_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("GRAPHSTALK_BROKER_URL", "redis://theirs:6379/0")
    with site(None) as here:
        assert Settings.from_env(url=here.url).broker_url == here.url
    assert Settings.from_env(url=here.url).broker_url == "redis://theirs:6379/0"


@pytest.mark.parametrize("half", [["--graphs", "mine=mine:graph"], ["--input", "{}"]])
def test_a_graph_without_input_or_an_input_without_graph_is_refused(
    half: list[str], theirs: Path
) -> None:
    done = graphstalk("chaos", *half, cwd=theirs)
    assert done.returncode == 2, done.stderr
