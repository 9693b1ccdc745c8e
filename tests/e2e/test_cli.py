"""The command line as a person uses it: real processes, a real server, real workers."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import COMMANDS
from orchestrator.cli.embedded import free_port, url_of_running_server
from tests.fixtures.own_server import own_server, server_binary

pytestmark = pytest.mark.server

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "orchestrator.cli"]
HELP_S_MAX = 1.0  # The budget is 0.3 s on a quiet machine; a test machine is shared.


@pytest.fixture(autouse=True, scope="module")
def binary() -> Path:
    return server_binary()


def environment(**changes: str) -> dict[str, str]:
    ours = {
        name: value
        for name, value in os.environ.items()
        if name != "REDIS_URL" and not name.startswith("GRAPHSTALK_")
    }
    return {**ours, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **changes}


def graphstalk(*arguments: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def wait_for(true: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# ---- help and doctor --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_answers_at_once(name: str) -> None:
    arguments = [name, "--help"] if name else ["--help"]
    times = []
    for _ in range(3):
        began = time.perf_counter()
        done = graphstalk(*arguments)
        times.append(time.perf_counter() - began)
        assert done.returncode == 0, done.stderr
    assert statistics.median(times) < HELP_S_MAX


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_loads_nothing_heavy(name: str) -> None:
    script = """
        import sys
        from orchestrator.cli import main
        main([*sys.argv[1:], "--help"])
        heavy = {"celery", "kombu", "redis", "pydantic", "rich", "psutil"}
        sys.exit(str(sorted(heavy & set(sys.modules))) if heavy & set(sys.modules) else 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *([name] if name else [])],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# ---- a fleet ------------------------------------------------------------------------------------

GRAPH = """
    import time
    from typing import TypedDict

    from orchestrator import END, START, StateGraph, interrupt


    class State(TypedDict, total=False):
        name: str
        nap_s: float
        answer: object


    def greet(state: State) -> State:
        time.sleep(state.get("nap_s", 0))
        return {"name": state["name"].title()}


    def ask(state: State) -> State:
        return {"answer": interrupt({"question": f"is {state['name']} welcome?"})}


    builder = StateGraph(State)
    builder.add_node("greet", greet)
    builder.add_node("ask", ask)
    builder.add_edge(START, "greet")
    builder.add_edge("greet", "ask")
    builder.add_edge("ask", END)
    graph = builder.compile()
"""


class Project:
    """A folder with a graph in it, in which somebody runs `graphstalk dev`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "asking.py").write_text(textwrap.dedent(GRAPH))
        (folder / "pyproject.toml").write_text(
            '[tool.graphstalk]\ngraphs = { asking = "asking:graph" }\n'
        )
        self.log = folder / "dev.log"

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [*COMMAND, "dev", "--concurrency", "1", *arguments],
                cwd=self.folder,
                env=environment(**env),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return graphstalk(*arguments, cwd=self.folder)

    def json(self, *arguments: str, code: int = 0) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def workers(self) -> list[int]:
        return [
            int(pid)
            for pid in re.findall(r"^worker-\d+ .*process (\d+)$", self.said(), re.MULTILINE)
        ]

    def wait_for_workers(self, process: subprocess.Popen[bytes], count: int) -> None:
        def ready() -> bool:
            assert process.poll() is None, self.said()
            return len(re.findall(r" ready\.$", self.said(), re.MULTILINE)) >= count

        wait_for(ready, 60.0)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, binary: Path) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("project"))
    process = project.start("--workers", "1")
    try:
        project.wait_for_workers(process, 1)
        yield project
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert process.returncode == 0, project.said()
    assert "stopped" in project.said()
    assert not any(is_alive(pid) for pid in project.workers())
    assert url_of_running_server(project.folder / ".graphstalk") is None


def test_a_run_is_submitted_paused_answered_and_finished(project: Project) -> None:
    started = project.json("submit", "asking", '{"name": "ada"}', "--thread", "ada")
    assert list(started) == ["thread_id", "run_id", "status"]
    paused = project.json(
        "submit", "asking", '{"name": "eva"}', "--thread", "eva", "--wait", code=5
    )
    [question] = paused["interrupts"]
    assert question["value"] == {"question": "is Eva welcome?"}
    assert project.json("state", "eva")["next"] == ["ask"]
    listed = project.run("threads", "--json", "--status", "paused").stdout.splitlines()
    waiting = {each["thread_id"]: each["waiting_for"] for each in map(json.loads, listed)}
    assert waiting["eva"] == [question["id"]]

    answered = project.json("resume", "eva", "[true]", "--interrupt", question["id"], "--wait")
    assert answered["values"]["answer"] == [True]
    assert answered["status"] == "succeeded"
    assert answered["run_id"] == paused["run_id"]
    first, *older = project.run("history", "eva", "--json").stdout.splitlines()
    assert json.loads(first)["values"]["name"] == "Eva"
    assert json.loads(older[-1])["metadata"]["step"] == -1
    assert project.run("resume", "eva", "1").returncode == 4


def test_the_same_key_is_the_same_run(project: Project) -> None:
    runs = {
        project.json("submit", "asking", '{"name": "kay"}', "--key", "once")["run_id"]
        for _ in range(2)
    }
    assert len(runs) == 1


def test_a_busy_thread_a_cancelled_run_and_what_is_not_there(project: Project) -> None:
    slow = ["submit", "asking", '{"name": "bob", "nap_s": 3}', "--thread", "bob"]
    assert project.run(*slow).returncode == 0
    busy = project.run(*slow)
    assert busy.returncode == 4
    assert "[THREAD_BUSY]" in busy.stderr
    late = project.run(*slow[:3], "--thread", "sam", "--wait", "--timeout", "0.1")
    assert late.returncode == 1
    assert "[RUN_NOT_FINISHED]" in late.stderr
    assert project.json("cancel", "bob")["status"] == "cancelled"
    for arguments in (["state", "nobody"], ["cancel", "nobody"], ["history", "nobody"]):
        missing = project.run(*arguments)
        assert missing.returncode == 3
        assert missing.stderr.endswith("[UNKNOWN_THREAD]\n")
        assert missing.stderr.count("\n") == 1
    assert project.run("submit", "nothing", "{}").returncode == 3


def test_the_doctor_finds_a_development_fleet_well(project: Project) -> None:
    done = project.run("doctor", "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"]) == (0, True), said
    assert {each["level"] for each in said["findings"]} == {"ok"}
    codes = {each["code"] for each in said["findings"]}
    assert codes == {"SERVER", "PERSISTENCE", "EVICTION", "GRAPHS", "WORKERS"}


def test_a_second_dev_in_one_folder_is_refused(project: Project) -> None:
    done = project.run("dev")
    assert done.returncode == 1
    assert "[DATA_FOLDER_BUSY]" in done.stderr


def test_the_doctor_fails_where_work_would_be_lost(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "__init__.py").touch()
    with own_server(tmp_path, ["--appendonly", "no", "--save", "", "--maxmemory", "50mb"]) as bare:
        bare.client().config_set("maxmemory-policy", "allkeys-lru")
        done = graphstalk("doctor", "--json", cwd=tmp_path, REDIS_URL=bare.url())
    said = json.loads(done.stdout)
    failed = {each["code"] for each in said["findings"] if each["level"] == "fail"}
    assert done.returncode == 1
    assert failed == {"PERSISTENCE_OFF", "EVICTION", "IMPORT_SHADOWED"}
    assert all(each["remedy"] for each in said["findings"] if each["level"] != "ok")


def test_the_doctor_says_when_there_is_no_server(tmp_path: Path) -> None:
    done = graphstalk("doctor", cwd=tmp_path, REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert "[SERVER_UNREACHABLE]" in done.stdout


def test_a_command_without_a_server_is_one_clear_line(tmp_path: Path) -> None:
    done = graphstalk("threads", cwd=tmp_path, REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("[CHECKPOINTER_UNAVAILABLE]\n")


@pytest.mark.slow
def test_a_killed_development_worker_is_started_again_and_ctrl_c_ends_all(tmp_path: Path) -> None:
    project = Project(tmp_path)
    process = project.start("--workers", "1")
    try:
        project.wait_for_workers(process, 1)
        [first] = project.workers()
        os.kill(first, signal.SIGKILL)
        project.wait_for_workers(process, 2)
        again = project.json("submit", "asking", '{"name": "zoe"}', "--wait", code=5)
        assert again["status"] == "paused"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
    assert process.returncode == 130
    second = project.workers()[-1]
    assert second != first
    assert not is_alive(second)


def test_a_worker_that_cannot_start_ends_dev(tmp_path: Path) -> None:
    done = graphstalk("dev", "--workers", "1", "--graphs", "x=no_such_module:graph", cwd=tmp_path)
    assert done.returncode == 1
    assert "no_such_module" in done.stdout
    assert "worker-1 ended with exit code" in done.stderr


@pytest.mark.slow
def test_flower_shows_each_node_as_a_task(tmp_path: Path) -> None:
    project, port = Project(tmp_path), free_port()
    flower = f"http://127.0.0.1:{port}"
    process = project.start(
        *("--workers", "1", "--flower", "--flower-port", str(port)),
        FLOWER_UNAUTHENTICATED_API="true",
    )

    def names() -> set[str]:
        with urllib.request.urlopen(f"{flower}/api/tasks", timeout=5) as answer:
            return {task["name"] for task in json.load(answer).values()}

    try:
        project.wait_for_workers(process, 1)
        wait_for(lambda: "Visit me at" in project.said())
        wait_for(lambda: project.json("submit", "asking", '{"name": "flo"}') and names(), 60.0)
        wait_for(lambda: {"asking.greet", "asking.ask"} <= names())
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert project.said().count(flower) >= 1
