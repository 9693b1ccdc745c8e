"""The demo reports what is stored, shows how it goes, and refuses what cannot work."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.cli.board import Claims, HeldStep, LineBoard, Row, Watch, open_board
from orchestrator.cli.demo import conclude, write_reports
from orchestrator.cli.exits import CommandError, Exit
from orchestrator.cli.ledger import Kill, Takeover, ThreadAccount
from orchestrator.cli.trial import Report, Sabotage, Setup, report_of
from orchestrator.model.checkpoint import Head, RunStatus
from orchestrator.model.commit import (
    Event,
    LoadedStep,
    LoadedThread,
    ReadyStep,
    StoredCheckpoint,
)

KEYS = [
    "threads",
    "finished",
    "steps_committed",
    "kills",
    "reexecuted",
    "lost",
    "duplicated",
    "takeover_s",
    "wall_s",
]


def report(**changes: Any) -> Report:
    known: dict[str, Any] = {
        "threads": 2,
        "finished": 2,
        "steps_committed": 9,
        "kills": 1,
        "reexecuted": 1,
        "lost": 0,
        "duplicated": 0,
        "takeover_s": 0.25,
        "wall_s": 3.0,
    }
    return Report(**{**known, **changes})


SETUP = Setup(inputs=(), workers=2, concurrency=2, kills=1, replace_after_s=None, timeout_s=60.0)


def test_the_last_line_is_json_with_exactly_these_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude(report(), SETUP, 0, as_json=True) == Exit.OK
    captured = capsys.readouterr()
    assert list(json.loads(captured.out.splitlines()[-1])) == KEYS
    assert "steps lost" in captured.err


def test_without_json_the_table_is_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude(report(takeover_s=None), SETUP, 0, as_json=False) == Exit.OK
    assert "steps committed" in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{"lost": 1}, {"duplicated": 1}, {"finished": 1}])
def test_anything_lost_duplicated_or_unfinished_is_a_failure(changes: dict[str, Any]) -> None:
    assert conclude(report(**changes), SETUP, 0, as_json=True) == Exit.FAILURE


def test_an_incomplete_record_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude(report(), SETUP, 3, as_json=True) == Exit.FAILURE
    assert "3 events are missing" in capsys.readouterr().err


def test_a_kill_that_hit_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    conclude(report(kills=0), SETUP, 0, as_json=True)
    assert "only 0 of 1 kills" in capsys.readouterr().err


def test_the_report_adds_accounts_up_and_takes_the_slowest_takeover() -> None:
    rerun = Takeover("s", "h:1:x", 1_100, 1_300)
    late = Takeover("r", "h:2:x", 1_100, 1_700)
    accounts = [
        ThreadAccount(committed=3, finished=True, rerun=(rerun, late)),
        ThreadAccount(committed=2, lost=("a",)),
    ]
    kill = Kill(1_000, frozenset({"h:1:x", "h:2:x"}))
    made = report_of(accounts, [kill], 9.12345)
    assert made == Report(
        threads=2,
        finished=1,
        steps_committed=5,
        kills=1,
        reexecuted=2,
        lost=1,
        duplicated=0,
        takeover_s=0.7,
        wall_s=9.123,
    )
    assert report_of(accounts, [], 1.0).takeover_s is None


def test_a_demo_that_kills_every_worker_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--kills", "2", "--workers", "2"]) == Exit.USAGE
    assert "--replace-after" in capsys.readouterr().err


def test_a_folder_without_sources_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--path", str(tmp_path)]) == Exit.USAGE
    assert "[COMMAND_FAILED]" in capsys.readouterr().err


def test_finished_reports_become_files(tmp_path: Path) -> None:
    values = {"report_markdown": "# Census", "report_svg": "<svg/>", "results": [1]}
    write_reports(tmp_path / "out", "census-1", values)
    write_reports(tmp_path / "out", "census-2", {})
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["census-1.md", "census-1.svg"]
    assert (tmp_path / "out" / "census-1.md").read_text() == "# Census"


def row(thread: str, status: str, committed: int = 1, waits_for: str = "") -> Row:
    return Row(
        thread=thread,
        status=status,
        committed=committed,
        planned=4,
        running=("1:parse:0 on worker-1",) if status == "running" else (),
        waits_for=waits_for,
    )


def test_without_a_terminal_each_change_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    board = LineBoard()
    board.show([row("t1", "queued"), row("t2", "running")])
    board.show([row("t1", "paused", 3, "a review"), row("t2", "running")])
    board.show([row("t1", "paused", 3, "a review"), row("t2", "succeeded", 4)])
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.endswith("0 of 2 threads finished, 2 steps committed, 1 running")
    assert second.endswith("t1: paused after 3 steps, waits for a review")
    assert third.endswith("t2: succeeded after 4 steps")


def test_a_terminal_gets_a_table_and_keeps_the_notes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with open_board(live=True) as board:
        board.show([row("t1", "running"), row("t2", "succeeded")])
        board.note("killed worker-1")
    printed = capsys.readouterr().err
    assert "1:parse:0 on worker-1" in printed
    assert printed.rstrip().endswith("killed worker-1")


def test_an_owner_names_its_process() -> None:
    assert HeldStep("t", "s", "t:1:parse", "a:b:123:ff").pid == 123
    assert HeldStep("t", "s", "t:1:parse", "somebody").pid == 0


class FakeStore:
    """Two threads: one ends, one waits."""

    def __init__(self) -> None:
        self.statuses = {"t1": "succeeded", "t2": "paused"}
        self.log = {
            "t1": [("superstep", {"steps": b"a b"}), ("step_committed", {"step": b"a"})],
            "t2": [("superstep", {"steps": b"c"})],
        }

    def load(self, thread: str, *, values: bool) -> LoadedThread:
        assert not values
        head = Head(
            graph="g",
            fingerprint="f",
            run_id="r",
            status=RunStatus(self.statuses[thread]),
            checkpoint_id=1,
        )
        ready = ReadyStep(
            thread_id=thread, step_id="c", checkpoint_id=1, graph="g", node="scan", number=0
        )
        step = LoadedStep(step=ready, owner="h:7:x", asks={"i1": b"?"})
        checkpoint = StoredCheckpoint(id=1, header=b"", plan=b"")
        return LoadedThread(
            head=head, checkpoint=checkpoint, blobs={}, steps={"c": step}, now_ms=99
        )

    def events(self, thread: str, *, after: int, limit: int) -> list[Event]:
        assert limit > 0
        events = [Event(n, n, *each) for n, each in enumerate(self.log[thread], start=1)]
        return [event for event in events if event.seq > after][:1]


def test_a_watch_reads_every_event_once_and_knows_the_end() -> None:
    store = FakeStore()
    watch = Watch(store, ["t1", "t2"])
    assert not watch.ended
    watch.poll()
    claims = watch.poll()
    held = HeldStep("t2", "c", "t2:0:scan", "h:7:x")
    assert claims == watch.claims() == Claims(99, (held,))
    assert watch.questions() == [("t2", "i1")]
    assert [event.seq for event in watch.events["t1"]] == [1, 2]
    assert watch.committed == 1
    assert not watch.ended
    first, second = watch.rows(claims, lambda pid: f"worker-{pid}")
    assert (first.status, first.committed, first.planned, first.running) == ("succeeded", 1, 2, ())
    assert (second.waits_for, second.running) == ("a review", ("0:scan on worker-7",))
    assert [account.lost for account in watch.accounts()] == [("b",), ()]
    store.statuses["t2"] = "cancelled"
    watch.poll()
    assert watch.ended


def test_a_command_error_fails_unless_it_says_otherwise() -> None:
    assert CommandError("x").exit_code == Exit.FAILURE


class FakeChild:
    def __init__(self, name: str) -> None:
        self.name, self.pid = name, int(name[-1])


class FakeFleet:
    """Workers 1 and 2; the owner of a claim names its worker by its process."""

    def __init__(self) -> None:
        self.workers = {name: FakeChild(name) for name in ("worker-1", "worker-2")}
        self.started: list[str] = []

    def worker_of(self, pid: int) -> FakeChild | None:
        return self.workers.get(f"worker-{pid}")

    def kill_while(self, child: FakeChild, holds: Callable[[], list[HeldStep]]) -> list[HeldStep]:
        held = holds()
        if held:
            del self.workers[child.name]
        return held

    def start(self, name: str) -> FakeChild:
        self.started.append(name)
        self.workers[name] = FakeChild(name)
        return self.workers[name]


class FakeWatch:
    """One thread; what is claimed is said in advance."""

    threads = ("t",)
    committed = 3

    def __init__(self, claims: Claims) -> None:
        self.now = claims
        self.account = ThreadAccount()

    def claims(self) -> Claims:
        return self.now

    def accounts(self) -> list[ThreadAccount]:
        return [self.account]


HELD = HeldStep("t", "s", "t:2:parse:0", "h:2:x")
BUSY = Claims(1_000, (HELD,))


def sabotage(watch: FakeWatch, fleet: FakeFleet, **changes: Any) -> Sabotage:
    return Sabotage(fleet, watch, LineBoard(), **{"kills_wanted": 1, **changes})


def test_the_busiest_worker_is_killed_while_it_runs_a_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watch, fleet = FakeWatch(BUSY), FakeFleet()
    doing = sabotage(watch, fleet)
    doing.once(BUSY)
    doing.once(BUSY)
    assert doing.kills == [Kill(1_000, frozenset({"h:2:x"}))]
    assert list(fleet.workers) == ["worker-1"]
    rerun = Takeover("s", "h:2:x", 1_100, 1_500)
    watch.account = ThreadAccount(rerun=(rerun,))
    doing.once(Claims(1_600, ()))
    said = capsys.readouterr().err
    assert "killed worker-2" in said
    assert "t:2:parse:0 was claimed again 0.5 s after the kill" in said


@pytest.mark.parametrize("committed", [0, 2])
def test_nobody_is_killed_before_the_fleet_is_at_work(committed: int) -> None:
    watch = FakeWatch(BUSY)
    watch.committed = committed
    doing = sabotage(watch, FakeFleet())
    doing.once(BUSY)
    assert doing.kills == []


def test_a_step_that_ended_before_the_kill_saves_its_worker() -> None:
    fleet = FakeFleet()
    doing = sabotage(FakeWatch(Claims(1_001, ())), fleet)
    doing.once(BUSY)
    assert doing.kills == []
    assert len(fleet.workers) == 2


def test_the_last_worker_is_spared_unless_it_is_replaced() -> None:
    fleet = FakeFleet()
    del fleet.workers["worker-1"]
    doing = sabotage(FakeWatch(BUSY), fleet)
    doing.once(BUSY)
    assert doing.kills == []
    replacing = sabotage(FakeWatch(BUSY), fleet, replace_after_s=0.0)
    replacing.once(BUSY)
    replacing.once(BUSY)
    assert len(replacing.kills) == 1
    assert fleet.started == ["worker-2"]
