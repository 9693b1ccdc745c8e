"""A node that fails is seen: in the worker's log with its traceback, and as its task's state."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from orchestrator import StepFailedError
from orchestrator.cli import main
from orchestrator.cli.embedded import HOST, free_port
from orchestrator.dispatch.broker import open_store
from tests.fixtures.processes import running
from tests.integration.fleet import Fleet, Worker

pytestmark = [pytest.mark.server, pytest.mark.slow]

LOST = ["lose", "lose", "lose"]  # What the node `try`, which has three attempts, does in each.


@contextmanager
def flower(fleet: Fleet, folder: Path) -> Iterator[Any]:
    """Run Flower and a worker; yield what asks Flower's API for the task of a step."""
    port = free_port()
    command = ["-m", "celery", f"--broker={fleet.server.url}", "flower"]
    command += [f"--address={HOST}", f"--port={port}"]
    env = {"FLOWER_UNAUTHENTICATED_API": "true"}
    with running(["python", *command], env, folder / "flower.log") as process:
        fleet.start(events=True)
        before = (f"before{number}" for number in count())

        def ask(task_id: str) -> dict[str, Any]:
            try:
                address = f"http://{HOST}:{port}/api/tasks"
                with urllib.request.urlopen(address, timeout=5) as answer:
                    return json.load(answer).get(task_id, {})
            except OSError:
                return {}

        def listens() -> bool:
            thread = next(before)
            fleet.result(fleet.submit("row", thread))
            return bool(ask(f"{thread}:0:__start__"))

        process.wait_until(listens)
        yield ask


def failures(worker: Worker) -> list[str]:
    """Return the lines of a worker's log that begin the record of a failed attempt."""
    lines = worker.log.read_text("utf-8").splitlines()
    return [line for line in lines if "failed in attempt" in line]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_each_failed_attempt_is_one_record_with_its_traceback(fleet: Fleet, pool: str) -> None:
    worker = fleet.start(pool=pool)
    fleet.submit("patient", script={"try": LOST})
    with pytest.raises(StepFailedError, match="as the script says"):
        fleet.result()
    fleet.wait_until(lambda: len(failures(worker)) == 3, "each attempt is logged")
    first, second, third = failures(worker)
    for attempt, line in enumerate((first, second), start=1):
        assert "WARNING" in line
        assert f"thread 't': node 'try' failed in attempt {attempt} " in line
        assert "retried in 1.0 s: ConnectionError: as the script says" in line
    assert "ERROR" in third
    assert "failed in attempt 3 " in third
    log = worker.log.read_text("utf-8")
    assert log.count("Traceback (most recent call last)") == 3
    assert log.count('raise ConnectionError("as the script says")') == 3
    assert "Task patient.try[t:1:try] succeeded" not in log


def test_commands_print_the_error_and_its_traceback(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", fleet.settings.url)
    fleet.start()
    fleet.submit("row", script={"two": ["fail"]})
    with pytest.raises(StepFailedError):
        fleet.result()
    said = "ValueError: as the script says"
    raised = 'raise ValueError("as the script says")'
    for command in ("explain", "state"):
        assert main([command, "t"]) == 0
        printed = "".join(capsys.readouterr())
        assert said in printed
        assert raised not in printed
        assert main([command, "t", "--traceback"]) == 0
        assert raised in "".join(capsys.readouterr())
    assert main(["history", "t"]) == 0
    assert f"two: {said}" in capsys.readouterr().out
    assert main(["state", "t", "--json"]) == 0
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert (error["node"], error["attempt"], error["type"]) == ("two", 1, "ValueError")
    assert raised in error["traceback"]


def test_an_error_of_a_subgraph_is_logged_once(fleet: Fleet) -> None:
    worker = fleet.start()
    fleet.submit("nested", script={"inner": ["fail"]})
    with pytest.raises(StepFailedError, match="as the script says"):
        fleet.result()
    fleet.wait_until(lambda: failures(worker), "the attempt is logged")
    (line,) = failures(worker)
    assert "node 'inner' failed in attempt 1 " in line


def test_flower_shows_a_failed_step_as_failed_with_its_traceback(
    fleet: Fleet, tmp_path: Path
) -> None:
    with flower(fleet, tmp_path) as task:
        fleet.submit("patient", script={"try": LOST})
        fleet.wait_until(lambda: task("t:1:try").get("state") == "RETRY", "the retry is shown")
        fleet.wait_until(lambda: task("t:1:try").get("state") == "FAILURE", "the failure is shown")
        shown = task("t:1:try")
        assert "ConnectionError: as the script says" in shown["exception"]
        assert 'raise ConnectionError("as the script says")' in shown["traceback"]


def test_flower_shows_a_step_that_failed_in_place_as_failed(tmp_path: Path) -> None:
    with (
        Fleet(tmp_path, {"GRAPHSTALK_DISPATCH": "inline"}) as fleet,
        flower(fleet, tmp_path) as task,
    ):
        fleet.submit("row", script={"two": ["fail"]})
        fleet.wait_until(lambda: task("t:2:two").get("state") == "FAILURE", "the failure is shown")
        shown = task("t:2:two")
        assert "ValueError: as the script says" in shown["exception"]
        assert 'raise ValueError("as the script says")' in shown["traceback"]


@pytest.mark.parametrize("slice_ms", [0, 100])  # By a message of its own, and by a process itself.
def test_flower_shows_a_cancelled_step_as_revoked(tmp_path: Path, slice_ms: int) -> None:
    with (
        Fleet(tmp_path, {"GRAPHSTALK_SLICE_MS": str(slice_ms)}) as fleet,
        flower(fleet, tmp_path) as task,
    ):
        fleet.submit("row", script={"two": ["wait"]})
        fleet.wait_for("two")
        fleet.client.cancel("t")
        fleet.open("two")
        fleet.wait_until(lambda: task("t:2:two").get("state") == "REVOKED", "it is revoked")


def test_a_message_that_comes_once_more_changes_no_outcome_in_flower(
    fleet: Fleet, tmp_path: Path
) -> None:
    with flower(fleet, tmp_path) as task:
        fleet.submit("row", script={"two": ["fail"]})
        with pytest.raises(StepFailedError):
            fleet.result()
        fleet.wait_until(lambda: task("t:2:two").get("state") == "FAILURE", "the failure is shown")
        before = task("t:2:two")["received"]
        with closing(open_store(fleet.settings)) as store:
            store.push([loaded.step for loaded in fleet.steps().values()])
        received = "it has received the message"
        fleet.wait_until(lambda: task("t:2:two")["received"] != before, received)
        fleet.result(fleet.submit("row", "later"))
        fleet.wait_until(lambda: task("later:3:three").get("state") == "SUCCESS", "a later event")
        assert task("t:2:two")["state"] == "FAILURE"
