"""submit, resume and cancel say what they did, as text and as JSON, and end with the right code."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.cli.command_options import GRAPHS_VARIABLE
from orchestrator.errors import (
    CheckpointerUnavailableError,
    GraphPausedError,
    RunNotFinishedError,
    ThreadBusyError,
)


@dataclass
class FakeHandle:
    """A run whose end is known beforehand."""

    thread_id: str = "t1"
    run_id: str = "r1"
    status: str = "queued"
    ending: Any = None
    waited: list[float | None] = field(default_factory=list)
    client: Any = None

    def result(self, timeout: float | None = None) -> Any:
        self.waited.append(timeout)
        if isinstance(self.ending, Exception):
            raise self.ending
        self.status = "succeeded"
        return self.ending


class FakeClient:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.handle_ = FakeHandle()
        self.asked: dict[str, Any] = {}

    def submit(
        self,
        graph: str,
        value: Any,
        *,
        thread_id: str | None = None,
        key: str | None = None,
        multitask_strategy: str = "reject",
        **options: Any,
    ) -> FakeHandle:
        given = {name: each for name, each in options.items() if each not in (None, {}, "raise")}
        if given:
            self.calls.append(("options", given))
        if multitask_strategy != "reject":
            self.calls.append(("strategy", multitask_strategy))
        self.calls.append(("submit", graph, value, thread_id, key))
        return self.handle_

    def resume(self, thread_id: str, value: Any, *, interrupt_id: str | None = None) -> FakeHandle:
        self.calls.append(("resume", thread_id, value, interrupt_id))
        return self.handle_

    def cancel(self, thread_id: str) -> None:
        self.calls.append(("cancel", thread_id))
        self.handle_.status = "cancelled"

    def carry_on(self, thread_id: str) -> FakeHandle:
        self.calls.append(("carry_on", thread_id))
        return self.handle_

    def status(self, thread_id: str) -> str:
        return self.handle_.status

    def questions(self, thread_id: str) -> dict[str, Any]:
        return self.asked


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient()
    monkeypatch.setattr("orchestrator.cli.runs.open_client", lambda *_: fake)
    monkeypatch.setattr("orchestrator.cli.runs.open_reader", lambda *_: fake)
    return fake


def test_submit_hands_over_input_thread_and_key(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "g", '{"a": 1}', "--thread", "t1", "--key", "k"]) == 0
    assert client.calls == [("submit", "g", {"a": 1}, "t1", "k")]
    assert capsys.readouterr().out == "thread t1: queued (run r1)\n"


def test_submit_hands_over_what_happens_on_a_busy_thread(client: FakeClient) -> None:
    assert main(["submit", "g", "{}", "--multitask-strategy", "enqueue"]) == 0
    assert client.calls[0] == ("strategy", "enqueue")
    assert main(["submit", "g", "{}", "--multitask-strategy", "queue"]) == 2


def test_submit_prints_one_json_object(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "g", "{}", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"thread_id": "t1", "run_id": "r1", "status": "queued"}
    assert client.handle_.waited == []


def test_submit_waits_only_when_told_to(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.handle_.ending = {"x": 2}
    assert main(["submit", "g", "{}", "--wait", "--timeout", "3", "--json"]) == 0
    assert client.handle_.waited == [3.0]
    assert json.loads(capsys.readouterr().out) == {
        "thread_id": "t1",
        "run_id": "r1",
        "values": {"x": 2},
        "status": "succeeded",
    }
    assert main(["submit", "g", "{}", "--wait"]) == 0
    assert client.handle_.waited[-1] is None


def test_a_run_that_pauses_ends_the_wait_with_its_questions(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.handle_.ending, client.handle_.status = GraphPausedError("paused"), "paused"
    client.asked = {"i1": {"ok?": 1}}
    assert main(["submit", "g", "{}", "--wait", "--json"]) == 5
    printed = json.loads(capsys.readouterr().out)
    assert printed["interrupts"] == [{"id": "i1", "value": {"ok?": 1}}]
    assert printed["status"] == "paused"
    assert main(["submit", "g", "{}", "--wait"]) == 5
    assert 'i1  {"ok?":1}' in capsys.readouterr().out


def test_a_run_that_does_not_end_in_time_is_a_failure(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.handle_.ending = RunNotFinishedError("still running after 1 s")
    assert main(["submit", "g", "{}", "--wait", "--timeout", "1"]) == 1
    assert "[RUN_NOT_FINISHED]" in capsys.readouterr().err


def test_a_time_without_a_wait_is_wrong_usage(client: FakeClient) -> None:
    assert main(["submit", "g", "{}", "--timeout", "1"]) == 2


def test_input_comes_from_a_file(client: FakeClient, tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text("[1]", encoding="utf-8")
    assert main(["submit", "g", f"@{file}"]) == 0
    assert client.calls[0][2] == [1]


@pytest.mark.parametrize("given", ["{", "@/no/such/file.json"])
def test_input_that_cannot_be_read_is_wrong_usage(
    client: FakeClient, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "g", given]) == 2
    assert client.calls == []
    assert "[COMMAND_FAILED]" in capsys.readouterr().err


def test_a_busy_thread_is_a_conflict(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> FakeHandle:
        msg = "thread 't1' is busy"
        raise ThreadBusyError(msg)

    monkeypatch.setattr(client, "submit", refuse)
    assert main(["submit", "g", "{}", "--thread", "t1"]) == 4
    assert capsys.readouterr().err == "graphstalk: thread 't1' is busy [THREAD_BUSY]\n"


@pytest.mark.parametrize(
    ("given", "value"), [("null", None), ("{}", {}), ("false", False), ('"yes"', "yes")]
)
def test_every_json_value_is_an_answer(client: FakeClient, given: str, value: Any) -> None:
    client.asked = {"i1": "ok?"}
    assert main(["resume", "t1", given, "--interrupt", "i1"]) == 0
    assert client.calls == [("resume", "t1", value, "i1")]


def test_a_question_is_not_answered_by_silence(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.asked = {"i1": "ok?"}
    assert main(["resume", "t1"]) == 2
    assert client.calls == []
    assert 'i1: "ok?"' in capsys.readouterr().err


def test_a_thread_that_asks_nothing_goes_on_without_an_answer(client: FakeClient) -> None:
    assert main(["resume", "t1"]) == 0
    assert client.calls == [("carry_on", "t1")]


def test_cancel_says_what_became_of_the_run(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cancel", "t1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"thread_id": "t1", "status": "cancelled"}
    assert main(["cancel", "t1"]) == 0
    assert capsys.readouterr().out == "thread t1: cancelled\n"


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("census=examples.census:graph", {"census": "examples.census:graph"}),
        ("examples.census:graph", {"graph": "examples.census:graph"}),
    ],
)
def test_graphs_are_named_on_the_command_line(
    given: str, known: dict[str, str], client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        "orchestrator.cli.runs.open_client", lambda _, graphs: seen.append(graphs) or client
    )
    assert main(["submit", "g", "{}", "--graphs", given]) == 0
    assert seen == [known]
    assert GRAPHS_VARIABLE == "GRAPHSTALK_GRAPHS"


@pytest.mark.parametrize("given", ["census", "census=", "=m:a", "m:", ":a", "a=m:x,b=m:y"])
def test_a_graph_that_says_not_where_it_is_is_wrong_usage(given: str, client: FakeClient) -> None:
    assert main(["submit", "g", "{}", "--graphs", given]) == 2


def test_a_stored_answer_whose_status_cannot_be_read_is_no_failure(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    class Lost(FakeHandle):
        @property
        def status(self) -> str:
            raise CheckpointerUnavailableError("the server does not answer")

        @status.setter
        def status(self, value: str) -> None:
            pass

    client.handle_ = Lost()
    assert main(["resume", "t1", '"yes"']) == 0
    shown = capsys.readouterr()
    assert "CHECKPOINTER_UNAVAILABLE" in shown.err
    assert "run r1 is stored" in shown.err
    assert shown.out == "thread t1: unknown (run r1)\n"


def test_submit_hands_over_context_and_limits(client: FakeClient) -> None:
    given = ["--context", '{"user": "Ada"}', "--resumes-max", "2", "--on-corrupt", "restart"]
    assert main(["submit", "g", "{}", *given]) == 0
    config = {"resumes_max": 2}
    options = {"config": config, "context": {"user": "Ada"}, "on_corrupt": "restart"}
    assert client.calls[0] == ("options", options)
    assert main(["submit", "g", "{}", "--resumes-max", "-1"]) == 2
    assert main(["submit", "g", "{}", "--context", "{"]) == 2


def test_wrong_usage_stores_nothing(client: FakeClient) -> None:
    assert main(["submit", "g", "{}", "--timeout", "1"]) == 2
    assert main(["resume", "t1", '"yes"', "--timeout", "1"]) == 2
    assert client.calls == []
