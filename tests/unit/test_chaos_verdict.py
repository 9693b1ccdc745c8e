"""The verdict of chaos: a run that was left alone is clean, and whatever is doctored is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import Command, MemoryCheckpointer
from orchestrator.cli.chaos.load import ANSWER, SILENT, WITNESS_VARIABLE, graph, ran_in
from orchestrator.cli.ledger import Ran, Takeover, Verdict, judge, percentile, takeover_times
from orchestrator.client.compiled import CompiledStateGraph
from orchestrator.model.commit import Event

Doctor = Callable[[list[Event], list[Ran]], None]


class Record:
    """What is left of one run of the built-in graph in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(WITNESS_VARIABLE, str(folder / "witness"))
        store = MemoryCheckpointer()
        here = CompiledStateGraph(graph.spec, checkpointer=store)
        here.invoke({"width": 2, "rounds": 3}, "t")
        here.invoke(Command(resume=ANSWER), "t")
        self.events = list(store.events("t", after=0, limit=1000))
        lines = (folder / "witness").read_bytes().splitlines()
        self.ran = [ran for thread, ran in ran_in(lines) if thread == "t"]

    def commit_of(self, node: str) -> Event:
        return next(
            event
            for event in self.events
            if event.type == "step_committed" and event.fields["node"] == node.encode()
        )


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    return Record(tmp_path, monkeypatch)


def numbered(events: Sequence[Event]) -> list[Event]:
    """Return events as a store would have numbered them."""
    return [replace(event, seq=number) for number, event in enumerate(events, start=1)]


def kinds(record: Record, status: str = "succeeded") -> list[str]:
    found = judge(Verdict(), "t", record.events, status=status, ran=record.ran, silent=SILENT)
    assert all(str(finding).startswith("t: ") for finding in found)
    return [finding.kind for finding in found]


def test_an_undisturbed_run_is_clean_and_all_of_its_commits_are_counted(record: Record) -> None:
    verdict = Verdict()
    found = judge(verdict, "t", record.events, status="succeeded", ran=record.ran, silent=SILENT)
    assert found == verdict.findings == []
    commits = sum(event.type == "step_committed" for event in record.events)
    assert (verdict.threads, verdict.commits) == (1, commits)
    assert len(record.ran) > commits - 4  # All but the starts and the step of the subgraph.


@pytest.mark.parametrize("node", ["join", "piece", "inner two", "inner", "ask", "last"])
def test_a_step_whose_commit_is_missing_is_lost(record: Record, node: str) -> None:
    missing = record.commit_of(node)
    record.events = numbered([event for event in record.events if event is not missing])
    assert kinds(record) == ["lost"]


@pytest.mark.parametrize("node", ["__start__", "join", "inner one", "last"])
def test_a_step_that_was_committed_twice_is_duplicated(record: Record, node: str) -> None:
    record.events = numbered([*record.events, record.commit_of(node)])
    assert kinds(record) == ["duplicated"]


def test_a_commit_of_a_step_that_did_not_run_is_lost_work(record: Record) -> None:
    step = record.commit_of("join").fields["step"].decode()
    record.ran = [ran for ran in record.ran if ran.step != step]
    assert kinds(record) == ["lost"]


def test_a_step_that_was_claimed_and_ran_after_its_commit_is_duplicated(record: Record) -> None:
    step = record.commit_of("join").fields["step"].decode()
    record.ran.append(Ran(step, 2, "host:1:late"))
    assert kinds(record) == ["duplicated"]


def test_a_frozen_process_that_runs_its_old_attempt_to_no_effect_is_no_finding(
    record: Record,
) -> None:
    step = record.commit_of("flaky").fields["step"].decode()  # Its second attempt was committed.
    record.ran.append(Ran(step, 1, "host:1:frozen"))
    assert kinds(record) == []


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_thread_that_does_not_come_to_rest_is_stranded(record: Record, status: str) -> None:
    end = record.events.index(record.commit_of("flaky"))
    record.events = record.events[:end]
    steps = {event.fields["step"].decode() for event in record.events if "step" in event.fields}
    record.ran = [ran for ran in record.ran if ran.step in steps]
    assert kinds(record, status) == ["stranded"]
    assert kinds(record, "paused") == []  # It waits for somebody.


def test_a_thread_that_was_accepted_and_that_nobody_knows_is_lost() -> None:
    verdict = Verdict()
    judge(verdict, "t", [], status="gone")
    assert [finding.kind for finding in verdict.findings] == ["lost"]


def test_an_incomplete_record_is_no_clean_one(record: Record) -> None:
    del record.events[0:2]
    assert "gap" in kinds(record)


def test_a_takeover_is_timed_from_the_last_kill_of_its_process() -> None:
    one = Takeover("s", "host:7:x", released_ms=2_050, claimed_ms=2_100)
    other = Takeover("s", "host:8:x", released_ms=2_050, claimed_ms=2_100)  # Frozen, not killed.
    again = Takeover("s", "host:7:x", released_ms=1_200, claimed_ms=None)  # The next one died, too.
    found = takeover_times([again, one, other], {7: [1_000.0, 2_000.0, 9_000.0]})
    assert found == ([0.2, 0.05], [0.1])


def test_percentiles_of_few_values_are_among_them() -> None:
    assert percentile([], 0.5) is None
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
