"""threads, state and history print what is stored, as text and as JSON with stable keys."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.errors import ThreadBusyError, UnknownThreadError
from orchestrator.model.checkpoint import Interrupt


@dataclass
class FakeThread:
    """A thread as the client lists it."""

    thread_id: str = "t1"
    graph: str = "g"
    status: str = "paused"
    run_id: str = "r1"
    resumes: int = 3
    created_ms: int = 1_600_000_000_000
    updated_ms: int = 1_700_000_000_000


@dataclass
class FakeSnapshot:
    """A state as the client shows it."""

    values: dict[str, Any] = field(default_factory=lambda: {"b": [1], "a": "x" * 300})
    next: tuple[str, ...] = ("review",)
    config: dict[str, Any] = field(
        default_factory=lambda: {"configurable": {"thread_id": "t1", "checkpoint_id": "c1"}}
    )
    metadata: dict[str, Any] = field(default_factory=lambda: {"step": 2, "source": "loop"})
    created_at: str = "2026-01-02T03:04:05+00:00"
    tasks: tuple[Any, ...] = ()
    interrupts: tuple[Interrupt, ...] = (Interrupt("ok?", "i1"),)


class FakeClient:
    """Knows one thread."""

    def __init__(self) -> None:
        self.found = [FakeThread()]
        self.asked: list[Any] = []
        self.deleted: list[tuple[str, bool]] = []
        self.errors: dict[str, Exception] = {}

    def threads(self, *, status: str | None, limit: int) -> list[FakeThread]:
        self.asked.append((status, limit))
        return self.found

    def delete(self, thread_id: str, *, cancel: bool) -> None:
        if thread_id in self.errors:
            raise self.errors[thread_id]
        self.deleted.append((thread_id, cancel))

    def questions(self, thread_id: str) -> dict[str, Any]:
        return {"i1": "ok?"}

    def get_state(self, thread_id: str) -> FakeSnapshot:
        return FakeSnapshot()

    def history(self, thread_id: str, *, limit: int) -> Iterator[FakeSnapshot]:
        return iter([FakeSnapshot(), FakeSnapshot(next=())][:limit])


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient()
    monkeypatch.setattr("orchestrator.cli.threads.open_client", lambda _: fake)
    monkeypatch.setattr("orchestrator.cli.threads.open_reader", lambda *_: fake)
    return fake


def test_threads_are_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["threads"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["THREAD", "GRAPH", "STATUS", "RESUMES", "CHANGED", "WAITS", "FOR"]
    assert row.startswith("t1      g      paused  3  ")
    assert row.endswith("i1")


def test_threads_are_json_lines_for_programs(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.found = [FakeThread(), FakeThread("t2", status="running")]
    assert main(["threads", "--json", "--status", "paused", "--limit", "7"]) == 0
    first, second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert list(first) == [
        "thread_id",
        "graph",
        "status",
        "run_id",
        "resumes",
        "created_ms",
        "updated_ms",
        "waiting_for",
    ]
    assert first["waiting_for"] == ["i1"]
    assert (second["thread_id"], second["waiting_for"]) == ("t2", [])
    assert client.asked == [("paused", 7)]


def test_no_threads_is_a_message_and_no_data(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.found = []
    assert main(["threads"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "no threads\n")
    assert main(["threads", "--json"]) == 0
    assert capsys.readouterr() == ("", "")


def test_an_unknown_status_is_wrong_usage() -> None:
    assert main(["threads", "--status", "sleeping"]) == 2


def test_state_shortens_values_for_people_and_says_what_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["state", "t1"]) == 0
    captured = capsys.readouterr()
    long, short = captured.out.splitlines()
    assert long.startswith('a = "xxx')
    assert long.endswith("…")
    assert short == "b = [1]"
    assert captured.err == 'next: review\nwaits for an answer to i1: "ok?"\n'


def test_state_is_one_json_object_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["state", "t1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "checkpoint_id": "c1",
        "values": {"b": [1], "a": "x" * 300},
        "next": ["review"],
        "metadata": {"step": 2, "source": "loop"},
        "created_at": "2026-01-02T03:04:05+00:00",
        "errors": [],
        "interrupts": [{"id": "i1", "value": "ok?"}],
    }


def test_history_is_a_line_for_each_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "t1"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["CHECKPOINT", "STEP", "SOURCE", "CREATED", "NEXT", "FAILED"]
    assert first.split() == ["c1", "2", "loop", "2026-01-02T03:04:05+00:00", "review", "-"]
    assert second.endswith("-")
    assert main(["history", "t1", "--json", "--limit", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["checkpoint_id"] == "c1"


# ---- threads delete -----------------------------------------------------------------------------


def test_threads_are_deleted_and_those_that_cannot_be_are_told(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.errors = {"busy": ThreadBusyError("it is busy"), "gone": UnknownThreadError("no thread")}
    assert main(["threads", "delete", "t1", "busy", "gone", "t1", "--yes", "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert told["deleted"] == ["t1"]
    assert {name: each["code"] for name, each in told["refused"].items()} == {
        "busy": "THREAD_BUSY",
        "gone": "UNKNOWN_THREAD",
    }
    assert client.deleted == [("t1", False)]
    assert main(["threads", "delete", "gone", "--yes"]) == 3
    assert main(["threads", "delete", "t2", "--yes", "--cancel"]) == 0
    assert client.deleted[-1] == ("t2", True)


def test_nothing_is_deleted_that_was_not_confirmed(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["threads", "delete", "t1"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert main(["threads", "delete"]) == 2
    assert main(["threads", "--status", "failed", "delete", "t1", "--yes"]) == 2
    assert client.deleted == []


def test_a_fan_out_is_folded_for_people(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = FakeSnapshot(next=("plan", *["work"] * 1000))
    monkeypatch.setattr(client, "history", lambda *_, **__: iter([wide]))
    monkeypatch.setattr(client, "get_state", lambda *_: wide)
    assert main(["history", "t1"]) == 0
    assert "plan, work x 1000" in capsys.readouterr().out
    assert main(["state", "t1"]) == 0
    assert "next: plan, work x 1000\n" in capsys.readouterr().err
