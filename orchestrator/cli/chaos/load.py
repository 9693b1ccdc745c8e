"""The default graph of chaos: rows, joins, `Send`s, retries, questions.

Every node first writes a line to a file that knows nothing of checkpoints: a witness of what really
ran. What a node returns does not depend on what happens to it, so a disturbed run must end like one
that was not.
"""

from __future__ import annotations

import operator
import os
import random
import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypedDict

from orchestrator import START, Command, RetryPolicy, Send, StateGraph, interrupt
from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.cli.ledger import Ran
from orchestrator.client.compiled import CompiledStateGraph
from orchestrator.ids import root_thread
from orchestrator.step.context import StepContext

WITNESS_VARIABLE = "GRAPHSTALK_CHAOS_WITNESS"  # The file; without it, nodes write and wait nothing.
ANSWER = "yes"
SILENT = frozenset({"__start__", "inner"})  # Nodes that are no code of ours.
PACE_S = 0.01  # How long a node takes, so that faults hit running nodes.
WIDTH_MAX = 6
ROUNDS = (0, 4, 8, 16)


class State(TypedDict, total=False):
    """The work of a thread, and its log."""

    width: int  # How many pieces are sent side by side.
    rounds: int  # How often `turn` runs again.
    turns: Annotated[int, operator.add]
    seen: Annotated[list[str], operator.add]
    inside: list[str]
    answer: str


class Inner(TypedDict, total=False):
    """The log of the subgraph."""

    inside: Annotated[list[str], operator.add]


def witness(ctx: StepContext) -> bool:
    """Write down that an attempt runs; return `False` where nothing is to be written."""
    path = os.environ.get(WITNESS_VARIABLE)
    if not path:
        return False
    line = f"{root_thread(ctx.thread_id)[0]}\t{ctx.step_id}\t{ctx.attempt}\t{ctx.worker}\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
    time.sleep(PACE_S)
    return True


def ran_in(lines: Iterable[bytes]) -> Iterable[tuple[str, Ran]]:
    """Return the attempts that the witness has written: (thread, attempt)."""
    for line in lines:
        thread, step, attempt, worker = line.decode().rstrip("\n").split("\t")
        yield thread, Ran(step, int(attempt), worker)


def _node(name: str, seen: str = "seen", **update: Any) -> Any:
    def run(_: Any, ctx: StepContext) -> dict[str, Any]:
        witness(ctx)
        return {seen: [name], **update}

    run.__name__ = name
    return run


def _piece(part: dict[str, int], ctx: StepContext) -> dict[str, Any]:
    witness(ctx)
    return {"seen": [f"piece {part['index']}"]}


def _flaky(_: State, ctx: StepContext) -> dict[str, Any]:
    if witness(ctx) and ctx.attempt == 1:  # In a fleet only: an undisturbed run logs no failure.
        msg = "the first attempt always fails"
        raise ConnectionError(msg)
    return {"seen": ["flaky"]}


def _ask(_: State, ctx: StepContext) -> dict[str, Any]:
    witness(ctx)
    return {"answer": interrupt("continue?"), "seen": ["ask"]}


def _pieces(state: State) -> list[Send]:
    return [Send("piece", {"index": index}) for index in range(state["width"])]


def _again(state: State) -> str:
    return "turn" if state["turns"] < state["rounds"] else "flaky"


def _inner() -> CompiledStateGraph:
    builder = StateGraph(Inner)
    before = START
    for name in ("inner one", "inner two"):
        builder.add_node(name, _node(name, "inside"))
        builder.add_edge(before, name)
        before = name
    return builder.compile(name="inner")


def _graph() -> StateGraph:
    builder = StateGraph(State)
    for name in ("plan", "left", "right", "join", "gather", "last"):
        builder.add_node(name, _node(name))
    builder.add_node("piece", _piece, input_schema=dict)
    builder.add_node("turn", _node("turn", turns=1))
    quick = RetryPolicy(initial_interval=0.05, jitter=False, retry_on=ConnectionError)
    builder.add_node("flaky", _flaky, retry_policy=quick)
    builder.add_node("inner", _inner())
    builder.add_node("ask", _ask)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "left")
    builder.add_edge("plan", "right")
    builder.add_edge(["left", "right"], "join")
    builder.add_conditional_edges("join", _pieces, ["piece"])
    builder.add_edge("piece", "gather")
    builder.add_edge("gather", "turn")
    builder.add_conditional_edges("turn", _again, ["turn", "flaky"])
    builder.add_edge("flaky", "inner")
    builder.add_edge("inner", "ask")
    builder.add_edge("ask", "last")
    return builder


graph = _graph().compile(name="chaos")


def drawn_input(seed: int, number: int) -> dict[str, int]:
    """Return the input of a thread: the same for the same seed and number."""
    chance = random.Random(f"{seed}:{number}")  # noqa: S311  # Nothing here is a secret.
    return {"width": chance.randint(1, WIDTH_MAX), "rounds": chance.choice(ROUNDS)}


def undisturbed(value: Mapping[str, object]) -> dict[str, Any]:
    """Return the state in which a thread ends if nothing happens to it."""
    here = CompiledStateGraph(graph.spec, checkpointer=MemoryCheckpointer())
    here.invoke(dict(value), "t")
    here.invoke(Command(resume=ANSWER), "t")
    return dict(here.get_state("t").values)
