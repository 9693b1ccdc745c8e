"""Going on from an older snapshot: as a branch, while what came after it stays where it is."""

from typing import Any

import pytest

from orchestrator import END, START, Command, MemoryCheckpointer, StateGraph, interrupt
from orchestrator.errors import InvalidUpdateError, NoPendingInterruptError, UnknownThreadError
from tests.fixtures.bench import Bench, asking, failed, finished


def facts(bench: Bench) -> list[tuple[str, int, tuple[str, ...], list[Any]]]:
    """Its snapshots: source, step, what is next, and the log."""
    return [
        (one.metadata["source"], one.metadata["step"], one.next, one.values["log"])
        for one in bench.history()
    ]


def at(bench: Bench, *nodes: str) -> Any:
    """Name the snapshot in which these nodes are next."""
    return next(one.config for one in bench.history() if one.next == nodes)


# ---- replay -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "ran", "first"),
    [
        (("end",), ["end"], ("fork", 2, ("end",), ["in", "side", "work"])),
        (("work", "side"), ["end", "side", "work"], ("fork", 1, ("work", "side"), ["in"])),
        ((START,), ["end", "side", "work"], ("fork", 0, (START,), [])),
    ],
    ids=["middle", "first", "input"],
)
def test_none_runs_again_what_the_snapshot_had_next(
    nodes: tuple[str, ...], ran: list[str], first: Any
) -> None:
    bench = finished()
    before, config = bench.history(), at(bench, *nodes)
    bench.ran.clear()
    assert bench.call(None, config) == {"log": ["in", "side", "work", "end"]}
    assert sorted(bench.ran) == ran
    branch = bench.history()[: -len(before)]
    assert bench.history()[-len(before) :] == before
    assert facts(bench)[len(branch) - 1] == first
    assert branch[-1].parent_config == config
    assert [one.parent_config for one in branch[:-1]] == [one.config for one in branch[1:]]


def test_a_branch_may_end_otherwise_and_is_the_latest_from_then_on() -> None:
    bench = finished()
    old_end = bench.graph.get_state("t")
    bench.acts["end"] = lambda: "another end"
    bench.call(None, at(bench, "end"))
    assert bench.graph.get_state("t").values["log"][-1] == "another end"
    assert bench.graph.get_state(old_end.config) == old_end
    assert bench.call({"log": ["x"]})["log"][-4:] == ["x", "side", "work", "another end"]


def test_a_replayed_step_asks_anew_and_may_get_another_answer() -> None:
    bench = asking("work")
    asked_at = bench.graph.get_state("t").config
    first = bench.graph.get_state("t").interrupts[0].id
    bench.call(Command(resume="yes"))
    (question,) = bench.call(None, asked_at)["__interrupt__"]
    assert (question.value, question.id != first) == ("work?", True)
    assert bench.call(Command(resume="no"))["log"] == ["in", "side", "no", "end"]
    assert [log for _, _, nodes, log in facts(bench) if not nodes] == [
        ["in", "side", "no", "end"],
        ["in", "side", "yes", "end"],
    ]


def test_the_end_of_a_branch_that_was_left_has_nothing_to_run_again() -> None:
    bench = finished()
    old_end = bench.graph.get_state("t").config
    bench.call({"log": ["x"]})
    bench.ran.clear()
    assert bench.call(None, old_end) == {"log": ["in", "side", "work", "end"]}
    assert bench.ran == []
    assert bench.graph.get_state("t").values == {"log": ["in", "side", "work", "end"]}


def test_a_failed_thread_may_go_back_further_than_its_failure() -> None:
    bench = failed()
    bench.call(None, at(bench, START))
    assert [bench.ran.count(name) for name in ("side", "work", "end")] == [2, 2, 1]


def test_what_was_sent_is_sent_again() -> None:
    bench = finished()
    bench.call(Command(goto="other"))
    config = at(bench, "other")
    bench.ran.clear()
    bench.call(None, config)
    assert bench.ran == ["other"]


def test_a_replay_does_not_stop_where_the_snapshot_had_stopped() -> None:
    bench = Bench(stops=("end",))
    bench.call({"log": ["in"]})
    stopped_at = bench.graph.get_state("t").config
    bench.call(None)
    assert bench.call(None, stopped_at)["log"] == ["in", "side", "work", "end"]


# ---- another input, answer or command -----------------------------------------------------


def test_an_input_begins_a_run_on_the_state_of_the_snapshot() -> None:
    bench = finished()
    config = at(bench, "end")
    log = bench.call({"log": ["new"]}, config)["log"]
    assert log == ["in", "side", "work", "new", "side", "work", "end"]
    (branch,) = [one for one in bench.history() if one.metadata["source"] == "input"][:1]
    assert branch.parent_config == config


def test_an_answer_goes_to_the_question_that_the_snapshot_asked() -> None:
    bench = asking("work")
    asked_at = bench.graph.get_state("t").config
    bench.call(Command(resume="first"))
    assert bench.call(Command(resume="second"), asked_at)["log"] == ["in", "side", "second", "end"]
    ends = [log for _, _, nodes, log in facts(bench) if not nodes]
    assert ends == [["in", "side", "second", "end"], ["in", "side", "first", "end"]]


def test_a_command_changes_the_state_of_the_snapshot_and_what_it_had_next_goes_on() -> None:
    bench = finished()
    command = Command(update={"log": ["U"]}, goto="other")
    log = bench.call(command, at(bench, "end"))["log"]
    assert log == ["in", "side", "work", "U", "end", "other"]


def test_a_wrong_input_on_an_older_snapshot_makes_no_branch() -> None:
    bench = finished()
    config = at(bench, "end")
    bench.refuses({"lgo": 1}, InvalidUpdateError, "Did you mean 'log'?", at=config)


@pytest.mark.parametrize("value", [Command(resume="x"), Command(resume="x", goto="other")])
def test_an_answer_where_the_snapshot_asked_nothing_makes_no_branch(value: Any) -> None:
    bench = finished()
    bench.refuses(value, NoPendingInterruptError, "asks nothing", at=at(bench, "end"))


@pytest.mark.parametrize("value", [None, {"log": ["x"]}, Command(goto="other")])
def test_a_checkpoint_of_another_thread_is_unknown(value: Any) -> None:
    bench = finished()
    bench.graph.invoke({"log": ["other"]}, "another")
    foreign = bench.graph.get_state("another").config["configurable"]["checkpoint_id"]
    config = {"thread_id": "t", "checkpoint_id": foreign}
    bench.refuses(value, UnknownThreadError, "'t' has no checkpoint", repr(foreign), at=config)


# ---- editing --------------------------------------------------------------------------------


def test_an_edit_of_an_older_snapshot_is_a_branch_of_it() -> None:
    bench = finished()
    before, config = bench.history(), at(bench, "end")
    edited = bench.graph.update_state(config, {"log": ["edit"]}, as_node="side")
    now = bench.graph.get_state("t")
    assert (now.config, now.parent_config, now.next) == (edited, config, ("end",))
    assert now.values == {"log": ["in", "side", "work", "edit"]}
    assert bench.history()[1:] == before
    assert bench.call(None)["log"] == ["in", "side", "work", "edit", "end"]


def test_a_rollback_makes_an_older_snapshot_the_latest_again() -> None:
    bench = finished()
    before, old = bench.history(), bench.graph.get_state(at(bench, "end"))
    config = bench.graph.rollback(old.config)
    now = bench.graph.get_state("t")
    assert (now.values, now.next, now.config) == (old.values, old.next, config)
    assert bench.history()[1:] == before
    assert bench.call(None)["log"] == ["in", "side", "work", "end"]


def test_a_fork_is_a_thread_of_its_own() -> None:
    bench = finished()
    before = bench.facts()
    config = bench.graph.fork(at(bench, "end"), "other")
    assert bench.graph.get_state("other").config == config
    assert bench.graph.invoke(None, "other")["log"] == ["in", "side", "work", "end"]
    assert bench.facts() == before
    assert len(list(bench.graph.get_state_history("other"))) == 2


def test_an_edit_as_the_end_leaves_nothing_to_do() -> None:
    bench = failed()
    bench.graph.update_state("t", None, as_node=END)
    now = bench.graph.get_state("t")
    assert (now.values, now.next) == ({"log": ["in", "side"]}, ())
    assert bench.call(None) == {"log": ["in", "side"]}
    assert bench.ran.count("work") == 1


def test_a_copy_stands_beside_the_snapshot_it_copies() -> None:
    bench = finished()
    old = bench.graph.get_state(at(bench, "end"))
    bench.graph.update_state(old.config, None, as_node="__copy__")
    now = bench.graph.get_state("t")
    assert (now.values, now.next, now.parent_config) == (old.values, old.next, old.parent_config)
    assert now.metadata["source"] == "fork"


def test_several_supersteps_may_be_made_at_once() -> None:
    bench = Bench()
    bench.graph.bulk_update_state(
        "t",
        [
            [({"log": ["in"]}, "__input__")],
            [({"log": ["s"]}, "side"), ({"log": ["w"]}, "work")],
        ],
    )
    assert bench.graph.get_state("t").next == ("end",)
    assert bench.call(None)["log"] == ["in", "s", "w", "end"]


def test_a_question_that_was_answered_in_another_branch_is_still_shown_there() -> None:
    builder = StateGraph(dict).add_node("ask", lambda state: {"said": interrupt("what?")})
    graph = builder.add_edge(START, "ask").compile(MemoryCheckpointer())
    graph.invoke({"a": 1}, "t")
    config = graph.get_state("t").config
    graph.invoke(Command(resume="yes"), "t")
    assert [i.value for task in graph.get_state(config).tasks for i in task.interrupts] == ["what?"]
