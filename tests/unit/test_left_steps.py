"""What becomes of the steps that a run has left when a new input comes: `on_pending`."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import START, Command, MemoryCheckpointer, Send, StateGraph
from orchestrator.client.options import OptionError
from orchestrator.errors import ThreadBusyError
from tests.fixtures.bench import Bench, State, asking, cancelled, failed, finished

X = {"log": ["x"]}
left = pytest.mark.parametrize(
    "bench", [failed, lambda: asking("work"), cancelled], ids=["failed", "asking", "cancelled"]
)


def stopped() -> Bench:
    bench = Bench(stops=("end",))
    assert bench.call({"log": ["in"]})["log"] == ["in", "side", "work"]
    return bench


@left
@pytest.mark.parametrize("options", [{}, {"on_pending": "discard"}, {"on_pending": None}], ids=str)
def test_they_are_dropped_with_what_their_siblings_wrote(
    bench: Callable[[], Bench], options: dict[str, Any]
) -> None:
    made = bench()
    made.acts.clear()
    assert made.call(X, **options)["log"] == ["in", "x", "side", "work", "end"]
    assert made.ran.count("side") == 2


@left
def test_what_their_siblings_wrote_may_be_kept(bench: Callable[[], Bench]) -> None:
    made = bench()
    made.acts.clear()
    assert made.call(X, on_pending="apply")["log"] == ["in", "x", "side", "side", "work", "end"]
    (event,) = [e for e in made.store.events("t") if e.type == "run_accepted"][1:]
    assert event.fields["abandoned"] == b"work"


def test_what_is_kept_is_never_applied_twice() -> None:
    bench = failed()
    bench.call(X, on_pending="apply")
    log = bench.call(X, on_pending="apply")["log"]
    assert log == ["in", "x", "side", "side", "work", "end", "x", "side", "work", "end"]


def test_where_nothing_had_completed_there_is_nothing_to_keep() -> None:
    assert stopped().call(X, on_pending="apply")["log"][:4] == ["in", "side", "work", "x"]


def test_a_join_does_not_fire_for_a_sibling_whose_writes_were_kept() -> None:
    bench = failed()
    bench.call(X, on_pending="apply")
    assert bench.ran.count("end") == 1


def test_of_many_that_were_sent_the_ones_that_completed_are_kept() -> None:
    fails = [2]

    def work(arg: dict[str, int]) -> State:
        if arg["n"] in fails:
            raise ValueError("no")
        return {"log": [arg["n"]]}

    def fan(state: State) -> list[Send]:
        return [Send("work", {"n": n}) for n in range(4)] if state["log"] == ["in"] else []

    builder = StateGraph(State).add_node("work", work).add_conditional_edges(START, fan)
    graph = builder.compile(MemoryCheckpointer())
    with pytest.raises(ValueError, match="no"):
        graph.invoke({"log": ["in"]}, "t")
    assert graph.invoke(X, "t", on_pending="apply")["log"] == ["in", "x", 0, 1, 3]


@left
def test_the_input_may_be_refused_for_them(bench: Callable[[], Bench]) -> None:
    words = ("'t' has steps left in 'work'", "on_pending='reject'", "Resume it with None")
    bench().refuses(X, ThreadBusyError, *words, on_pending="reject")


def test_a_stop_leaves_steps_too() -> None:
    stopped().refuses(X, ThreadBusyError, "steps left in 'end'", on_pending="reject")


@pytest.mark.parametrize("policy", ["discard", "apply", "reject"])
def test_where_nothing_is_left_any_policy_begins_anew(policy: str) -> None:
    assert Bench().call({"log": ["in"]}, on_pending=policy)["log"] == ["in", "side", "work", "end"]
    log = finished().call(X, on_pending=policy)["log"]
    assert log == ["in", "side", "work", "end", "x", "side", "work", "end"]


@pytest.mark.parametrize("value", [None, Command(resume="yes"), Command(update=X)])
def test_a_call_that_goes_on_is_not_refused_for_them(value: Any) -> None:
    bench = asking("work")
    bench.acts["work"] = lambda: "done"
    log = bench.call(value, on_pending="reject")["log"]
    assert [name for name in log if name != "x"] == ["in", "side", "done", "end"]


def test_there_are_no_other_policies() -> None:
    words = "on_pending='keep' is not one of 'discard', 'apply', 'reject'"
    failed().refuses(X, OptionError, words, on_pending="keep")
