"""A node that pauses its thread by `raise InterruptedError`, and how the run goes on there."""

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import START, Command, GraphPausedError, MemoryCheckpointer, Send, StateGraph
from orchestrator.errors import NoPendingInterruptError

CONFIG = {"thread_id": "task1"}


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]
    approved: bool


class Desk:
    """START → draft → (review, file) → done; `review` pauses until the state says approved."""

    def __init__(self, review: Callable[[Any], Any] | None = None) -> None:
        self.ran: list[str] = []
        builder = StateGraph(State)
        for name in ("draft", "file", "done"):
            builder.add_node(name, self.note(name))
        builder.add_node("review", review or self.review)
        builder.add_edge(START, "draft").add_edge("draft", "review").add_edge("draft", "file")
        builder.add_edge(["review", "file"], "done")
        self.graph = builder.compile(MemoryCheckpointer())

    def note(self, name: str) -> Callable[[State], State]:
        return lambda state: self.ran.append(name) or {"log": [name]}

    def review(self, state: State) -> State:
        self.ran.append("review")
        if not state.get("approved"):
            raise InterruptedError("waiting for approval")
        return {"log": ["review"]}

    def pauses(self, value: Any) -> GraphPausedError:
        with pytest.raises(InterruptedError) as caught:
            self.graph.invoke(value, CONFIG)
        assert type(caught.value) is GraphPausedError
        return caught.value


@pytest.fixture
def desk() -> Desk:
    """A thread that is paused."""
    made = Desk()
    made.pauses({"log": ["in"]})
    return made


def test_the_error_says_where_and_why_and_how_to_go_on() -> None:
    error = Desk().pauses({})
    assert (error.thread_id, error.node, error.reason) == (
        "task1",
        "review",
        "waiting for approval",
    )
    assert "'task1' is paused at the node 'review': waiting for approval" in str(error)
    assert "Give it an input, or None, to continue there" in str(error)
    assert error.code == "GRAPH_PAUSED"


def test_an_input_is_an_update_and_the_run_goes_on_at_the_node_that_paused(desk: Desk) -> None:
    assert desk.graph.invoke({"approved": True}, config={"thread_id": "task1"}) == {
        "log": ["in", "draft", "file", "review", "done"],
        "approved": True,
    }
    assert [desk.ran.count(name) for name in ("draft", "file", "review", "done")] == [1, 1, 2, 1]


def test_an_input_that_does_not_satisfy_the_node_is_kept_and_it_pauses_again(desk: Desk) -> None:
    assert desk.pauses({"log": ["not yet"]}).node == "review"
    assert desk.graph.invoke({"approved": True}, CONFIG)["log"] == [
        "in", "draft", "not yet", "file", "review", "done",
    ]  # fmt: skip
    assert desk.ran.count("draft") == desk.ran.count("file") == 1


def test_none_runs_the_node_that_paused_again(desk: Desk) -> None:
    assert desk.pauses(None).reason == "waiting for approval"
    assert desk.ran.count("file") == 1
    desk.graph.update_state(CONFIG, {"approved": True}, as_node="draft")
    assert desk.graph.invoke(None, CONFIG)["log"][-1] == "done"


def test_none_goes_on_once_what_the_node_waited_for_has_come() -> None:
    came: list[bool] = []

    def review(state: State) -> State:
        if not came:
            raise InterruptedError
        return {"log": ["review"]}

    desk = Desk(review)
    assert "paused at the node 'review': no reason given" in str(desk.pauses({}))
    came.append(True)
    assert desk.graph.invoke(None, CONFIG)["log"] == ["draft", "file", "review", "done"]
    assert desk.ran == ["draft", "file", "done"]


def test_a_command_may_change_the_state_and_the_run_goes_on_at_the_node(desk: Desk) -> None:
    result = desk.graph.invoke(Command(update={"approved": True}), CONFIG)
    assert result["log"] == ["in", "draft", "file", "review", "done"]


def test_a_pause_is_no_question_that_could_be_answered(desk: Desk) -> None:
    before = desk.graph.get_state(CONFIG)
    with pytest.raises(NoPendingInterruptError, match="asks nothing"):
        desk.graph.invoke(Command(resume="yes"), CONFIG)
    assert desk.graph.get_state(CONFIG) == before
    assert before.interrupts == ()


def test_a_paused_thread_shows_its_siblings_writes_and_no_error(desk: Desk) -> None:
    snapshot = desk.graph.get_state(CONFIG)
    assert (snapshot.values, snapshot.next) == ({"log": ["in", "draft", "file"]}, ("review",))
    assert [(task.name, task.error) for task in snapshot.tasks] == [
        ("file", None),
        ("review", None),
    ]
    assert desk.graph.checkpointer.load("task1").head.status == "paused"
    events = [event.type for event in desk.graph.checkpointer.events("task1")]
    assert events[-2:] == ["step_paused", "run_paused"]
    assert "step_failed" not in events


def test_it_is_not_tried_again_by_itself_and_no_handler_is_called() -> None:
    ran: list[str] = []

    def review(state: State) -> None:
        ran.append("review")
        raise InterruptedError("wait")

    builder = StateGraph(State).set_node_defaults(
        error_handler=lambda state, error: ran.append("h")
    )
    graph = builder.add_node("review", review).add_edge(START, "review")
    with pytest.raises(GraphPausedError):
        graph.compile(MemoryCheckpointer()).invoke({}, "t")
    assert ran == ["review"]


def test_several_paused_steps_all_go_on_with_one_input() -> None:
    def work(arg: dict[str, int]) -> State:
        if not ready:
            raise InterruptedError(f"{arg['n']}")
        return {"log": [arg["n"]]}

    ready: list[int] = []
    builder = StateGraph(State).add_node("work", work)
    builder.add_conditional_edges(START, lambda state: [Send("work", {"n": n}) for n in range(3)])
    graph = builder.compile(MemoryCheckpointer())
    with pytest.raises(GraphPausedError, match="paused at the node 'work'"):
        graph.invoke({}, "t")
    ready.append(1)
    assert graph.invoke({"log": ["go"]}, "t") == {"log": ["go", 0, 1, 2]}


def test_an_input_that_is_none_is_refused_and_the_thread_stays_paused(desk: Desk) -> None:
    before = (desk.graph.get_state(CONFIG), len(desk.graph.checkpointer.events("task1")))
    with pytest.raises(Exception, match="which is no key of the input"):
        desk.graph.invoke({"aproved": True}, CONFIG)
    assert (desk.graph.get_state(CONFIG), len(desk.graph.checkpointer.events("task1"))) == before


def test_without_a_checkpointer_the_pause_is_told_all_the_same() -> None:
    def review(state: State) -> None:
        raise InterruptedError("wait")

    graph = StateGraph(State).add_node("review", review).add_edge(START, "review").compile()
    with pytest.raises(GraphPausedError, match="at the node 'review': wait"):
        graph.invoke({})
