"""The graphs that show LangGraph's defects, or what people do every day, to be run at every place.

Every node first writes its name to the file that the state names as `witness`: it tells what really
ran and how often, and knows nothing of checkpoints. What a node does may depend on how often it has
run before, so that it fails, dies or asks the first time only.
"""

from __future__ import annotations

import asyncio
import operator
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

from orchestrator import (
    END,
    START,
    Command,
    RetryPolicy,
    Send,
    StateGraph,
    interrupt,
    task,
)
from tests.semantics import conversing, heeding, nesting
from tests.semantics.notes import BoomError, note

NAMES = (
    "asks_twice", "fails_then_asks", "takes_answer", "routes", "collides", "torn", "waits", "plain",
    "asks_late", "asks", "siblings", "opaque", "loops", "raises", "asks_side_by_side", "handles",
    "review", "counts", "publish", "fails_then_waits", "overtaken", "shift", *nesting.BUILDERS,
    *conversing.BUILDERS, *heeding.BUILDERS, "gathers",
    "dies",
    "swallows", "handled_late", "handled_late_async", "handled_late_by_default",
    "pauses_at_handler",
    "asks_made", "asks_inside", "asks_beside_failure",
)  # fmt: skip
GATE_WAIT_S = 60.0  # A test that forgot to open its gate fails; it does not hang.
POLL_S = 0.002


class State(TypedDict, total=False):
    witness: str
    log: Annotated[list[Any], operator.add]
    last: Any
    count: int
    approved: bool


def ran(witness: str, name: str | None = None) -> list[str]:
    """Return what ran, in order; or how often this node did."""
    path = Path(witness)
    names = path.read_text("utf-8").split() if path.exists() else []
    return names if name is None else [one for one in names if one == name]


def gate_of(witness: str, name: str) -> Path:
    """Return the file whose existence lets the waiting node `name` go on."""
    return Path(f"{witness}.{name}.open")


def wait_at(state: Any, name: str) -> None:
    """Wait until somebody opens the gate."""
    end = time.monotonic() + GATE_WAIT_S
    while not gate_of(state["witness"], name).exists():
        if time.monotonic() > end:
            msg = f"nobody opened the gate of {name}"
            raise TimeoutError(msg)
        time.sleep(POLL_S)


def says(name: str) -> Callable[[State], State]:
    """Return a node that only leaves its name."""

    def run(state: State) -> State:
        note(state, name)
        return {"log": [name]}

    run.__name__ = name
    return run


def row(**nodes: Callable[..., Any]) -> StateGraph:
    """Return nodes one after the other."""
    builder = StateGraph(State)
    before = START
    for name, action in nodes.items():
        builder.add_node(name, action).add_edge(before, name)
        before = name
    return builder


# ---- defects, by their number -----------------------------------------------------------


def ask_twice(state: State) -> State:
    note(state, "ask")
    return {"log": [[interrupt("first?"), interrupt("second?")]]}


def fail_then_ask(state: State) -> State:
    if note(state, "ask") == 1:
        raise BoomError("the first time")
    return {"log": [interrupt("really?")]}


def take_answer(state: State) -> State:
    """Ask; with the answer in hand, the first time, do what the state says: raise, or die."""
    note(state, "ask")
    answer = interrupt("yes?")
    if note(state, "answered") == 1:
        if state["last"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise BoomError("with the answer in hand")
    return {"log": [answer]}


def route(state: State) -> str:
    if note(state, "route") == 1:
        raise BoomError("the router")
    return "after"


_routes = StateGraph(State).add_node("work", says("work")).add_node("after", says("after"))
_routes.add_edge(START, "work").add_conditional_edges("work", route, ["after"])


def sets(name: str) -> Callable[[State], State]:
    def run(state: State) -> State:
        note(state, name)
        return {"last": name, "log": [name]}

    return run


_collides = StateGraph(State).add_node("left", sets("left")).add_node("right", sets("right"))
_collides.add_node("join", says("join")).add_edge(["left", "right"], "join")
_collides.add_edge(START, "left").add_edge(START, "right")


def write_late(state: State) -> State:
    """Write to several channels, each time others, and each time when somebody lets it."""
    attempt = note(state, "work")
    Path(f"{state['witness']}.{attempt}.pid").write_text(str(os.getpid()), "utf-8")
    wait_at(state, f"attempt {attempt}")
    if attempt == 1:
        return {"log": ["old", "old"], "last": "old", "count": attempt}
    return {"log": ["new"], "count": attempt}


def wait(state: State) -> State:
    note(state, "work")
    wait_at(state, "work")
    return {"log": ["work"]}


def fail_then_wait(state: State) -> State:
    if note(state, "work") == 1:
        raise BoomError("the first time")
    wait_at(state, "work")
    return {"log": ["work"]}


def wait_once(state: State) -> State:
    if note(state, "work") == 1:
        wait_at(state, "work")
    return {"log": ["work"]}


def end(state: State) -> State:
    note(state, "end")
    wait_at(state, "end")
    return {"log": ["end"]}


def ask(state: State) -> State:
    note(state, "ask")
    return {"log": [interrupt("go on?")]}


_asks_late = StateGraph(State).add_node("work", says("work")).add_node("ask", ask)
_asks_late.add_edge(START, "work").add_edge("ask", END)


def boom_once(state: State) -> State:
    if note(state, "work") == 1:
        raise BoomError("the first time")
    return {"log": ["work"]}


_siblings = StateGraph(State).add_node("side", says("side")).add_node("work", boom_once)
_siblings.add_node("end", says("end")).add_edge(["side", "work"], "end")
_siblings.add_edge(START, "side").add_edge(START, "work")


_asks_beside = StateGraph(State).add_node("ask", ask).add_node("work", boom_once)
_asks_beside.add_edge(START, "ask").add_edge(START, "work")


def make(state: State) -> State:
    return {"last": {"deep": [object() if note(state, "make") == 1 else "plain"]}}


def loop(state: State) -> State:
    note(state, "loop")
    return {"count": state.get("count", 0) + 1}


_loops = StateGraph(State).add_node("loop", loop).add_edge(START, "loop")
_loops.add_conditional_edges("loop", lambda _: "loop", ["loop"])


def boom(state: State) -> State:
    note(state, "boom")
    raise BoomError("always")


def die_once(state: State) -> State:
    if note(state, "die") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"log": ["die"]}


def handle(state: State, error: Any) -> State:
    if note(state, "handler") == 1 and state.get("last") == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"log": [type(error.error).__name__], "last": getattr(error.error, "record", None)}


_handles = StateGraph(State).add_node(
    "boom", boom, error_handler=handle, retry_policy=RetryPolicy(max_attempts=1)
)
_handles.add_edge(START, "boom")


def spread(state: State) -> list[Send]:
    return [Send("part", {"witness": state["witness"], "count": i}) for i in range(3)]


def part(state: State) -> State:
    note(state, "part")
    number = state["count"]
    return {"log": [(interrupt(f"{number}a?"), interrupt(f"{number}b?"))]}


_side = StateGraph(State).add_node("part", part).add_conditional_edges(START, spread, ["part"])


def send_more(state: State) -> list[Send]:
    """Send one more round of two parts."""
    if state.get("count"):
        return []
    return [Send("late", {"witness": state["witness"]}) for _ in range(2)]


_gathers = StateGraph(State).add_node("early", says("early")).add_node("late", says("late"))
_gathers.add_node("other", says("other"))
_gathers.add_node("gather", says("gather"), defer=True)
_gathers.add_node("join", says("join"), defer=True)
_gathers.add_conditional_edges(START, lambda s: [Send("early", s), Send("early", s)], ["early"])
_gathers.add_edge(START, "gather").add_edge(START, "other").add_edge("late", "gather")
_gathers.add_conditional_edges("early", send_more, ["late"])
_gathers.add_edge(["early", "other"], "join")


@dataclass(frozen=True)
class Made:
    """An answer of a type that the schema names."""

    number: int


class MadeState(State, total=False):
    made: Made


class InsideState(State, total=False):
    """The state of a subgraph; the graph around it does not know the type."""

    inside: Made


def ask_made(state: State) -> Any:
    note(state, "ask")
    made: Made = interrupt("which?")
    return {"log": [f"{type(made).__name__} {made.number}"]}


_asks_made = StateGraph(MadeState).add_node("ask", ask_made).add_edge(START, "ask")
_asks_inside = StateGraph(State).add_node(
    "inner", StateGraph(InsideState).add_node("ask", ask_made).add_edge(START, "ask").compile()
)
_asks_inside.add_edge(START, "inner")


# ---- what people do every day -----------------------------------------------------------


def review_once_approved(state: State) -> State:
    note(state, "review")
    if not state.get("approved"):
        raise InterruptedError("waiting for approval")
    return {"log": ["reviewed"]}


def counting(name: str, *, fails: bool = False) -> Callable[[State], State]:
    def run(state: State) -> State:
        if note(state, name) == 1 and fails:
            raise BoomError("the power went")
        return {"count": state.get("count", 0) + 1, "log": [state.get("count", 0)]}

    return run


def decide(state: State) -> Command[Any]:
    note(state, "decide")
    answer = interrupt({"question": "publish it?"})
    goto = "publish" if answer["decision"] == "approve" else END
    return Command(goto=goto, update={"last": answer["decision"]})


_publish = StateGraph(State).add_node("draft", says("draft")).add_node("publish", says("publish"))
_publish.add_node("decide", decide, destinations=("publish", END))
_publish.add_edge(START, "draft").add_edge("draft", "decide").add_edge("publish", END)


# ---- two who want one thread -----------------------------------------------------------


def name_run(state: State) -> State:
    """Tell the run by what it was given."""
    note(state, "begin")
    return {"log": [f"{state['last']} began"]}


def quick(state: State) -> State:
    note(state, "quick")
    return {"log": [f"{state['last']} quick"]}


def slow(state: State) -> State:
    note(state, "slow")
    wait_at(state, "slow")
    return {"log": [f"{state['last']} slow"]}


_shift = StateGraph(State).add_node("begin", name_run).add_edge(START, "begin")
for _half in (quick, slow):
    _shift.add_node(_half.__name__, _half).add_edge("begin", _half.__name__)


# ---- questions whose exception code swallows ----------------------------------------------


@task
def asks_in_task(value: str) -> str:
    return interrupt(value)


@task
def swallows_in_task(value: str) -> str:
    with suppress(Exception):
        return interrupt(value)
    return "never asked"


def _ask_below(state: State) -> State:
    return {"log": [interrupt("sure?")]}


_below = StateGraph(State).add_node("inner", _ask_below).add_edge(START, "inner").compile()


def _by_except(state: State) -> Any:
    try:
        return interrupt("sure?")
    except Exception:  # noqa: BLE001 - what users write
        return "never asked"


def _by_bare_except(state: State) -> Any:
    try:
        return interrupt("sure?")
    except:  # noqa: E722 - what users write
        return "never asked"


def _by_another_error(state: State) -> Any:
    try:
        return interrupt("sure?")
    except Exception as error:
        raise BoomError("the tool failed") from error


def _in_a_subgraph(state: State) -> Any:
    try:
        return _below.invoke({"witness": state["witness"]})["log"][0]
    except Exception:  # noqa: BLE001 - what users write
        return "never asked"


def _in_a_task(state: State) -> Any:
    try:
        return asks_in_task("sure?").result()
    except Exception:  # noqa: BLE001 - what users write
        return "never asked"


def _inside_a_task(state: State) -> Any:
    return swallows_in_task("sure?").result()


async def _by_gather(state: State) -> Any:
    async def ask() -> Any:
        return interrupt("sure?")

    async def other() -> str:
        return "other"

    found = await asyncio.gather(ask(), other(), return_exceptions=True)
    return "never asked" if isinstance(found[0], Exception) else found[0]


async def _by_gather_of_tasks(state: State) -> Any:
    found = await asyncio.gather(asks_in_task("sure?"), return_exceptions=True)
    return "never asked" if isinstance(found[0], Exception) else found[0]


SWALLOWING = {
    f.__name__.removeprefix("_"): f
    for f in (
        _by_except, _by_bare_except, _by_another_error, _in_a_subgraph, _in_a_task, _inside_a_task,
        _by_gather, _by_gather_of_tasks,
    )
}  # fmt: skip


async def swallow(state: State) -> State:
    """Ask in the way that the state names."""
    note(state, "ask")
    way = SWALLOWING[state["last"]]
    found = way(state)
    return {"log": [await found if asyncio.iscoroutine(found) else found]}


def route_by_question(state: State) -> str:
    if state["last"] != "in_the_router":
        return "after"
    try:
        return interrupt("sure?")
    except Exception:  # noqa: BLE001 - what users write
        return END


async def swallow_or_route(state: State) -> State:
    if state["last"] == "in_the_router":
        note(state, "ask")
        return {"log": ["yes"]}
    return await swallow(state)


_swallows = StateGraph(State).add_node("ask", swallow_or_route).add_node("after", says("after"))
_swallows.add_edge(START, "ask").add_conditional_edges("ask", route_by_question, ["after", END])


# ---- error handlers that take too long ------------------------------------------------------

LATE_S = 0.3


def handle_late(state: State, error: Any) -> State:
    """Never return, the first time."""
    if note(state, "handler") == 1:
        end = time.monotonic() + GATE_WAIT_S
        while time.monotonic() < end:
            time.sleep(POLL_S)
    return {"log": [type(error.error).__name__]}


async def handle_late_async(state: State, error: Any) -> State:
    if note(state, "handler") == 1:
        await asyncio.sleep(GATE_WAIT_S)
    return {"log": [type(error.error).__name__]}


def _handled(handler: Callable[..., Any]) -> StateGraph:
    builder = StateGraph(State).add_node("boom", boom, error_handler=handler, timeout=LATE_S)
    return builder.add_edge(START, "boom")


_by_default = StateGraph(State).set_node_defaults(error_handler=handle_late, timeout=LATE_S)
_by_default.add_node("boom", boom).add_edge(START, "boom")


BUILDERS: dict[str, StateGraph] = {
    "swallows": _swallows,
    "handled_late": _handled(handle_late),
    "handled_late_async": _handled(handle_late_async),
    "handled_late_by_default": _by_default,
    "asks_twice": row(ask=ask_twice),
    "fails_then_asks": row(ask=fail_then_ask),
    "takes_answer": row(ask=take_answer, after=says("after")),
    "routes": _routes,
    "collides": _collides,
    "torn": row(work=write_late, after=says("after")),
    "waits": row(work=wait, after=says("after")),
    "fails_then_waits": row(work=fail_then_wait, after=says("after")),
    "overtaken": row(work=wait_once, end=end),
    "plain": row(work=says("work"), after=says("after")),
    "asks_late": _asks_late,
    "asks": row(work=says("work"), ask=ask, wait=wait),
    "siblings": _siblings,
    "asks_beside_failure": _asks_beside,
    "opaque": row(make=make, after=says("after")),
    "loops": _loops,
    "raises": row(boom=boom),
    "asks_side_by_side": _side,
    "handles": _handles,
    "dies": row(work=says("work"), die=die_once, after=says("after")),
    "review": row(draft=says("draft"), review=review_once_approved, finalize=says("finalize")),
    "counts": row(one=counting("one"), two=counting("two"), three=counting("three", fails=True)),
    "publish": _publish,
    "shift": _shift,
    **heeding.BUILDERS,
    **nesting.BUILDERS,
    **conversing.BUILDERS,
    "gathers": _gathers,
    "asks_made": _asks_made,
    "asks_inside": _asks_inside,
}
globals().update({name: builder.compile(name=name) for name, builder in BUILDERS.items()})


def handle_and_lead(state: State, error: Any) -> Command[Any]:
    note(state, "handler")
    return Command(goto="after", update={"log": [type(error.error).__name__]})


_HANDLER = "__error_handler__boom"
_pauses = StateGraph(State).add_node("boom", boom, error_handler=handle_and_lead)
_pauses.add_node("after", says("after")).add_edge(START, "boom")
pauses_at_handler = _pauses.compile(
    name="pauses_at_handler", interrupt_before=[_HANDLER], interrupt_after=[_HANDLER]
)
