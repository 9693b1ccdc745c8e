"""The same graphs, run by this project and by LangGraph, come to the same states by the same steps.

Graphs and what is done to them are drawn at random as plain data (`twins.py`). After each call both
threads are compared: how the call ended, what it returned, the state, what is next, what is asked,
and the whole history.

What differs, and why this project does it its way:

- D5: two values for a key that takes one end LangGraph's thread: it cannot be read any more. Here
  it can, and be repaired. (`compare`)
- D14: a call may take as many supersteps as its recursion limit says. LangGraph takes two more
  when it resumes, and raises when nothing is left to run exactly at the limit. (`compare`)
- D14: an update that names no node is made as the node that ran last. LangGraph goes by triggers:
  it forgets who was sent something or updated, and two triggers of one node confuse it.
  (`inferred`)
- An answer runs the step that asked, and a failed step waits for `invoke(None)`. LangGraph runs
  both at once. (`act`: nobody answers a failed thread)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import langgraph.errors
import langgraph.types
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import orchestrator
from orchestrator.errors import EmptyInputError, GraphRecursionError, InvalidUpdateError
from tests.property import twins
from tests.property.twins import (
    END,
    START,
    BoomError,
    GraphPlan,
    NodePlan,
    RouterPlan,
    Target,
    World,
)

CASES = 330
LIMIT = 9  # Supersteps of one call.
CONFIG = {"configurable": {"thread_id": "t"}}
KINDS: dict[type[Exception], str] = {
    BoomError: "boom",
    EmptyInputError: "empty",
    langgraph.errors.EmptyInputError: "empty",
    GraphRecursionError: "recursion",
    langgraph.errors.GraphRecursionError: "recursion",
    InvalidUpdateError: "conflict",
    langgraph.errors.InvalidUpdateError: "conflict",
}


@dataclass(frozen=True)
class Do:
    """One thing done to both threads."""

    what: str  # input | resume | go (answer if something is asked, else resume) | update
    values: Any = None
    as_node: str | None = None
    pick: int = 0  # Which question is answered.


@dataclass(frozen=True)
class View:
    """What a thread looks like from outside."""

    values: Any
    next: tuple[str, ...]
    asked: tuple[str, ...]
    history: tuple[tuple[Any, ...], ...]  # Newest first: values, next, source, step.
    failed: bool = field(compare=False)  # LangGraph shows an error also after the step succeeded.


@dataclass
class Twin:
    graph: Any
    world: World
    extra: int = 0  # How many more supersteps a resumed call gets than it asks for.
    options: dict[str, Any] = field(default_factory=dict)
    returned: Any = None  # By the last call, without the open questions.

    def view(self) -> View:
        state = self.graph.get_state(CONFIG)
        return View(
            state.values,
            tuple(state.next),
            tuple(sorted(str(i.value) for i in state.interrupts)),
            tuple(
                (s.values, tuple(s.next), s.metadata["source"], s.metadata["step"])
                for s in self.graph.get_state_history(CONFIG)
            ),
            any(task.error is not None for task in state.tasks),
        )

    def call(self, value: Any) -> str:
        """Invoke; return how it ended."""
        limit = LIMIT if isinstance(value, dict) else LIMIT - self.extra
        config = {**CONFIG, "recursion_limit": limit}
        self.returned = None

        def invoke() -> None:
            result = self.graph.invoke(value, config, **self.options) or {}
            self.returned = {key: result[key] for key in result if key != "__interrupt__"}

        return kind_of(invoke)

    def answer(self, question: str, answer: str) -> str:
        asked = self.graph.get_state(CONFIG).interrupts
        name = next(i.id for i in asked if i.value == question)
        return self.call(self.world.library.Command(resume={name: answer}))

    def update(self, values: Any, as_node: str | None) -> str:
        return kind_of(lambda: self.graph.update_state(CONFIG, values, as_node))


def kind_of(call: Callable[[], Any]) -> str:
    """Return how a call ends; an error that no graph here can raise goes through."""
    try:
        call()
    except tuple(KINDS) as error:
        return next(kind for cls, kind in KINDS.items() if isinstance(error, cls))
    return "ok"


def compare(plan: GraphPlan, todo: list[Do], ran: Counter[str]) -> None:
    """Do the same to both, and compare after each."""
    mine, their = World(orchestrator), World(langgraph.types)
    ours = Twin(twins.ours(plan, mine), mine)
    theirs = Twin(twins.theirs(plan, their), their, 2, {"durability": "sync"})
    view: View | None = None
    for do in todo:
        if do.what == "update" and do.as_node is None and not inferred(plan, view):
            continue
        mine.begin({})
        ended = act(ours, do, view)
        their.begin(dict(mine.passed))
        expected = act(theirs, do, view)
        ran[f"{do.what} {ended}"] += 1
        if expected == "conflict" and do.what != "update":
            # LangGraph finds it before the last step of the superstep has ended; here that step may
            # still ask its question.
            assert ended == "conflict" or ours.view().asked
            return
        if expected == "recursion" and ended == "ok":
            assert theirs.view().next == ()
            expected, theirs.returned = "ok", ours.returned
        assert (ended, ours.returned) == (expected, theirs.returned), do
        view = ours.view()
        try:
            reference = theirs.view()
        except langgraph.errors.InvalidUpdateError:
            return
        assert view == reference, do


def act(twin: Twin, do: Do, view: View | None) -> str:
    if do.what == "update":
        twin.returned = None
        return twin.update(do.values, do.as_node)
    if do.what == "go" and view is not None and view.asked and not view.failed:
        return twin.answer(view.asked[do.pick % len(view.asked)], f"yes{do.pick}")
    return twin.call(do.values if do.what == "input" else None)


def inferred(plan: GraphPlan, view: View | None) -> bool:
    """Return whether both would make an update as the same node, if it names none."""
    goes = [*(n.goto for n in plan.nodes), *(c for r in plan.routers for c in r.choices)]
    sends = any(target.item for targets in goes for target in targets)
    return not (sends or plan.joins) and (view is None or view.history[0][2] == "loop")


# ---- what is drawn ----------------------------------------------------------------------

NAMES = "abcdef"
KEYS = st.sets(st.sampled_from(["log", "table", "last"]), max_size=3).map(sorted).map(tuple)
INPUTS = st.sampled_from([{"log": ["in"]}, {"last": "in"}, {"table": {"in": 1}}, {"log": []}])


@st.composite
def plans(draw: st.DrawFn) -> GraphPlan:
    names = list(NAMES[: draw(st.integers(2, 6))])
    nodes = st.sampled_from(names)
    targets = st.builds(Target, st.sampled_from([*names, END])) | st.builds(
        Target, nodes, st.just(1)
    )
    several = st.lists(targets, max_size=3).map(tuple)
    edges = [(START, draw(nodes))]
    for index, name in enumerate(names):
        later = st.sampled_from([*names[index + 1 :], END])
        edges += [(name, end) for end in sorted(draw(st.sets(later, max_size=2)))]
    edges += draw(
        st.lists(
            st.tuples(st.sampled_from([START, *names]), st.sampled_from([*names, END])), max_size=2
        )
    )
    sources = st.lists(nodes, min_size=2, max_size=3, unique=True).map(tuple)
    some = st.sets(nodes, max_size=2).map(sorted).map(tuple)
    stops = st.one_of(*[st.just(())] * 4, some, some, st.just(("*",)))
    routers = [
        RouterPlan(
            draw(st.sampled_from([START, *names])),
            f"r{index}",
            tuple(draw(st.lists(several, min_size=1, max_size=3))),
            draw(st.booleans()),
        )
        for index in range(draw(st.integers(0, 2)))
    ]
    return GraphPlan(
        tuple(draw(node_plans(name, targets)) for name in names),
        tuple(dict.fromkeys(edges)),
        tuple(draw(st.lists(st.tuples(sources, nodes), max_size=2))),
        tuple(routers),
        draw(stops),
        draw(stops),
    )


@st.composite
def node_plans(draw: st.DrawFn, name: str, targets: st.SearchStrategy[Target]) -> NodePlan:
    kind = draw(st.sampled_from(["plain"] * 5 + ["asks", "asks", "fails", "goes", "defer", "new"]))
    return NodePlan(
        name,
        draw(KEYS),
        asks=draw(st.integers(1, 2)) if kind == "asks" else 0,
        fails=kind == "fails",
        defer=kind == "defer",
        replaces=kind == "new",
        goto=tuple(draw(st.lists(targets, min_size=1, max_size=2))) if kind == "goes" else (),
    )


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[GraphPlan, list[Do]]:
    plan = draw(plans())
    names = st.sampled_from([START, *(node.name for node in plan.nodes)])
    go = st.builds(Do, st.just("go"), pick=st.integers(0, 3))
    do = st.one_of(
        *[go] * 5,
        st.just(Do("resume")),
        st.builds(Do, st.just("input"), INPUTS),
        st.builds(Do, st.just("update"), INPUTS | st.none(), names),
        st.builds(Do, st.just("update"), INPUTS),
    )
    return plan, [Do("input", {"log": ["in"]}), *draw(st.lists(do, min_size=1, max_size=6))]


def test_any_graph_runs_as_in_langgraph(capsys: pytest.CaptureFixture[str]) -> None:
    ran: Counter[str] = Counter()

    @settings(
        max_examples=CASES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # A failure shows its plan as it is: shrinking takes minutes.
        suppress_health_check=list(HealthCheck),
    )
    @given(scenarios())
    def run(scenario: tuple[GraphPlan, list[Do]]) -> None:
        ran["cases"] += 1
        compare(*scenario, ran)

    run()
    with capsys.disabled():
        print(f"\n{ran.pop('cases')} graphs on both libraries:", dict(sorted(ran.items())))
    met = {"input ok", "input boom", "input recursion", "input conflict", "go ok", "update ok"}
    assert met <= set(ran)
