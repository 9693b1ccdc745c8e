"""Workflows as plain data: an entrypoint as a list of statements, run by either library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import langgraph.func
from hypothesis import strategies as st

import orchestrator
from tests.property.plans import BoomError, Brief
from tests.property.twins import Ours, Theirs, World

FUNC = {
    Ours: (orchestrator.entrypoint, orchestrator.task),
    Theirs: (langgraph.func.entrypoint, langgraph.func.task),
}


@dataclass(frozen=True, repr=False)
class TaskPlan(Brief):
    """What a task does, in this order: say, fail, ask."""

    name: str
    says: bool = False
    fails: int = 0
    attempts: int = 0
    asks: int = 0


@dataclass(frozen=True, repr=False)
class Statement(Brief):
    """One statement of a workflow.

    `call` calls tasks and waits for each; `gather` calls them all, then waits; `catch` calls them
    and goes on where one fails; `ask`, `say` and `fail` are what they say; `loop` calls the first
    task several times.
    """

    what: str
    tasks: tuple[int, ...] = ()
    times: int = 1


@dataclass(frozen=True, repr=False)
class WorkflowPlan(Brief):
    tasks: tuple[TaskPlan, ...]
    body: tuple[Statement, ...]
    saves: bool = False  # Whether it keeps something else than it returns.
    looks_back: bool = False  # Whether it begins with what it returned before.
    attempts: int = 0
    then: int = 0  # By how much what it keeps differs from what it returns.

    def features(self) -> Counter[str]:
        """Return what the workflow shows, to be counted."""
        words = {statement.what for statement in self.body}
        has = {
            **dict.fromkeys(words, True),
            "final": self.saves,
            "previous": self.looks_back,
            "retry": bool(self.attempts) or any(t.attempts for t in self.tasks),
            "task asks": any(t.asks for t in self.tasks),
            "task fails": any(t.fails for t in self.tasks),
        }
        return Counter(name for name, shows in has.items() if shows)


def task_of(plan: TaskPlan, world: World) -> Callable[..., Any]:
    """Return the task in a world's library."""
    library = world.library

    def work(value: int) -> str:
        who = f"{plan.name}{value}"
        if plan.says:
            library.get_stream_writer()(f"{who}!")
        world.fail(who, plan.fails)
        answers = [library.interrupt(f"{who}?{index}") for index in range(plan.asks)]
        return "+".join([who, *map(str, answers)])

    work.__name__ = plan.name
    retry = _retry(plan.attempts, library)
    return FUNC[library][1](**retry)(work) if retry else FUNC[library][1](work)


def _retry(attempts: int, library: Any) -> dict[str, Any]:
    if not attempts:
        return {}
    policy = library.RetryPolicy(
        max_attempts=attempts, initial_interval=0, jitter=False, retry_on=BoomError
    )
    return {"retry_policy": policy}


def build(plan: WorkflowPlan, library: Any) -> Any:
    """Return the workflow in a library, with a world of its own."""
    world = World(library)
    entrypoint = FUNC[library][0]
    tasks = [task_of(task, world) for task in plan.tasks]

    def flow(value: int, *, previous: Any = None) -> Any:
        found: list[Any] = [f"in{value}"]
        if plan.looks_back:
            found.append(previous)
        for number, statement in enumerate(plan.body):
            found += _do(statement, number, tasks, world)
        if plan.saves:
            return entrypoint.final(value=found, save=[*found[:1], plan.then])
        return found

    return entrypoint(checkpointer=library.checkpointer(), **_retry(plan.attempts, library))(flow)


def _do(statement: Statement, number: int, tasks: list[Any], world: World) -> list[Any]:
    library = world.library
    chosen = [(tasks[i % len(tasks)], number + 10 * at) for at, i in enumerate(statement.tasks)]
    match statement.what:
        case "call":
            return [task(value).result() for task, value in chosen]
        case "gather":
            return [future.result() for future in [task(value) for task, value in chosen]]
        case "loop":
            return [chosen[0][0](time).result() for time in range(statement.times + 1)]
        case "catch":
            return [_caught(task(value)) for task, value in chosen]
        case "ask":
            return [library.interrupt(f"q{number}") for _ in range(statement.times)]
        case "say":
            library.get_stream_writer()(f"said {number}")
        case "fail":
            world.fail(f"statement {number}", statement.times)
    return []


def _caught(future: Any) -> str:
    try:
        return str(future.result())
    except BoomError as error:
        return f"caught {error}"


@st.composite
def workflows(draw: st.DrawFn) -> WorkflowPlan:
    """Draw a workflow."""
    kinds = st.sampled_from(["plain"] * 4 + ["says", "fails", "retry", "asks"])
    tasks = []
    for index in range(draw(st.integers(1, 3))):
        kind = draw(kinds)
        fails = draw(st.integers(1, 2)) if kind in {"fails", "retry"} else 0
        attempts = draw(st.integers(1, 3)) if kind == "retry" else 0
        asks = draw(st.integers(1, 2)) if kind == "asks" else 0
        tasks.append(TaskPlan("tuv"[index], kind == "says", fails, attempts, asks))
    words = ["call"] * 3 + ["gather", "loop", "catch", "ask", "ask", "say", "fail"]
    statements = st.builds(
        Statement,
        st.sampled_from(words),
        st.lists(st.integers(0, 2), min_size=1, max_size=3).map(tuple),
        st.integers(1, 2),
    )
    return WorkflowPlan(
        tuple(tasks),
        tuple(draw(st.lists(statements, min_size=1, max_size=4))),
        saves=draw(st.booleans()),
        looks_back=draw(st.booleans()),
        attempts=draw(st.sampled_from([0] * 7 + [2])),
        then=draw(st.integers(0, 2)),
    )
