"""The account of a fleet is drawn up from events, and sees what is lost, doubled or run again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.cli.ledger import Kill, Ledger, account_of, add_up, takeovers


@dataclass(frozen=True)
class Note:
    """An event as a store gives it: fields are bytes."""

    seq: int
    ts_ms: int
    type: str
    fields: Mapping[str, object] = field(default_factory=dict)


class History:
    """Writes the events of one thread."""

    def __init__(self) -> None:
        self.events: list[Note] = []

    def add(self, type_: str, ts_ms: int = 0, **fields: object) -> None:
        stored = {name: str(value).encode() for name, value in fields.items()}
        self.events.append(Note(len(self.events) + 1, ts_ms, type_, stored))

    def plan(self, *steps: str) -> "History":
        self.add("superstep", steps=" ".join(steps))
        return self

    def commit(self, step: str, ts_ms: int = 0, claimed_ms: int = 0, attempt: int = 1) -> "History":
        self.add("step_committed", ts_ms, step=step, claimed_ms=claimed_ms, attempt=attempt)
        return self

    def release(self, step: str, ts_ms: int = 0, owner: str = "h:1:x") -> "History":
        self.add("step_released", ts_ms, step=step, owner=owner, fence=1)
        return self


def totals(events: Sequence[Note], *, finished: bool = True) -> Ledger:
    return add_up([account_of(events, finished=finished)])


def test_a_thread_whose_steps_are_each_committed_once_is_clean() -> None:
    history = History().plan("a").commit("a").plan("b", "c").commit("c").commit("b").plan()
    ledger = totals(history.events)
    assert ledger.clean
    assert (ledger.threads, ledger.finished, ledger.steps_committed) == (1, 1, 3)
    assert (ledger.lost, ledger.duplicated, ledger.reexecuted, ledger.gaps) == (0, 0, 0, 0)


def test_a_step_without_a_commit_is_lost_when_the_thread_finished() -> None:
    history = History().plan("a", "b").commit("a")
    account = account_of(history.events, finished=True)
    assert account.lost == ("b",)
    assert not add_up([account]).clean


def test_a_step_of_an_earlier_superstep_is_lost_even_if_the_thread_goes_on() -> None:
    history = History().plan("a", "b").commit("a").plan("c")
    assert account_of(history.events, finished=False).lost == ("b",)


def test_an_open_step_of_the_latest_superstep_is_not_lost_but_the_thread_is_unfinished() -> None:
    history = History().plan("a").commit("a").plan("b", "c").commit("b")
    ledger = totals(history.events, finished=False)
    assert ledger.lost == 0
    assert not ledger.clean


def test_a_second_commit_of_a_step_is_duplicated() -> None:
    history = History().plan("a").commit("a").commit("a").commit("a")
    account = account_of(history.events, finished=True)
    assert account.duplicated == ("a", "a")
    assert account.committed == 3


def test_a_commit_that_nobody_planned_is_duplicated() -> None:
    history = History().plan("a").commit("a").commit("stray")
    assert account_of(history.events, finished=True).duplicated == ("stray",)


def test_a_step_taken_from_a_dead_worker_and_committed_later_ran_again() -> None:
    history = History().plan("a", "b").commit("b")
    history.release("a", ts_ms=1_500, owner="host:7:n").commit("a", 2_500, claimed_ms=1_600)
    account = account_of(history.events, finished=True)
    assert add_up([account]).reexecuted == 1
    assert add_up([account]).clean
    [rerun] = account.rerun
    assert (rerun.step, rerun.owner, rerun.released_ms, rerun.claimed_ms) == (
        "a",
        "host:7:n",
        1_500,
        1_600,
    )


def test_a_step_that_asked_and_was_answered_did_not_run_again() -> None:
    history = History().plan("a")
    history.add("step_interrupted", step="a", interrupt="i")
    history.commit("a", attempt=2)
    assert totals(history.events).reexecuted == 0


def test_a_step_that_was_taken_away_and_never_committed_is_lost_not_rerun() -> None:
    history = History().plan("a").release("a")
    ledger = totals(history.events)
    assert (ledger.reexecuted, ledger.lost) == (0, 1)


def test_two_deaths_under_one_step_are_two_reruns() -> None:
    history = History().plan("a").release("a", owner="h:1:x").release("a", owner="h:2:y")
    assert totals(history.commit("a", attempt=3).events).reexecuted == 2


def test_takeovers_are_measured_from_the_kill_to_the_next_claim() -> None:
    history = History().plan("a", "b", "c")
    history.release("a", owner="h:1:x").release("b", owner="h:2:y").release("c", owner="h:9:z")
    for step, claimed_ms in (("a", 1_250), ("b", 1_900), ("c", 5_000)):
        history.commit(step, claimed_ms=claimed_ms)
    kill = Kill(at_ms=1_000, owners=frozenset({"h:1:x", "h:2:y"}))
    delays = takeovers([account_of(history.events, finished=True)], [kill])
    assert sorted(delays) == [0.25, 0.9]


def test_the_first_steps_are_planned_by_the_run_that_was_accepted() -> None:
    history = History()
    history.add("run_accepted", steps="start", abandoned="")
    history.commit("start").plan("a").commit("a")
    assert totals(history.events).clean


def test_a_step_that_a_new_run_abandoned_is_not_lost() -> None:
    history = History().plan("a", "b").commit("a")
    history.add("run_accepted", steps="c", abandoned="node")
    assert totals(history.commit("c").events).clean


def test_missing_events_make_the_account_unclean() -> None:
    events = History().plan("a").commit("a").events
    whole = [*events, Note(5, 0, "run_succeeded")]
    ledger = totals(whole)
    assert ledger.gaps == 2
    assert not ledger.clean


def test_trimmed_events_at_the_start_are_missing_too() -> None:
    assert totals([Note(8, 0, "run_succeeded")]).gaps == 7


def test_the_accounts_of_threads_add_up() -> None:
    good = account_of(History().plan("a").commit("a").events, finished=True)
    bad = account_of(History().plan("a", "b").commit("a").commit("a").events, finished=True)
    ledger = add_up([good, bad, good])
    assert (ledger.threads, ledger.finished, ledger.steps_committed) == (3, 3, 4)
    assert (ledger.lost, ledger.duplicated) == (1, 1)


def test_no_threads_are_not_clean() -> None:
    assert not add_up([]).clean


def test_fields_may_be_text_or_numbers_too() -> None:
    events = [
        Note(1, 0, "superstep", {"steps": "a"}),
        Note(2, 0, "step_released", {"step": "a", "owner": "o"}),
        Note(3, 9, "step_committed", {"step": "a", "claimed_ms": 4}),
    ]
    assert account_of(events, finished=True).rerun[0].claimed_ms == 4
