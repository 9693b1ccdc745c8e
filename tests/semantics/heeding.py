"""Nodes that run until they notice that what they do will not be kept.

Each notes its name when it begins, and `left` when it is about to end, however that comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from orchestrator import START, StateGraph, task
from orchestrator.step.context import StepContext

__all__ = ["BUILDERS", "polls"]

TOO_LATE_S = 30.0
POLL_S = 0.002


class State(TypedDict, total=False):
    """The state."""

    witness: str
    log: list[str]


def _note(state: State, name: str) -> int:
    """Write down that a node runs; return how often it has."""
    path = Path(state["witness"])
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{name}\n")
    return path.read_text("utf-8").split().count(name)


@contextmanager
def _witnessed(state: State) -> Iterator[bool]:
    first = _note(state, "work") == 1
    try:
        yield first
    finally:
        _note(state, "left")


def polls() -> Iterator[None]:
    """Return a pause again and again, for longer than a test should take."""
    end = time.monotonic() + TOO_LATE_S
    while time.monotonic() < end:
        yield
        time.sleep(POLL_S)


def check(state: State, ctx: StepContext) -> State:
    """Check again and again; what `except Exception` catches is no way out."""
    with _witnessed(state) as first:
        for _ in polls() if first else ():
            try:
                ctx.check()
            except Exception:  # noqa: BLE001 - as in code that logs and continues
                _note(state, "caught")
    return {"log": ["done"]}


def ask(state: State, ctx: StepContext) -> State:
    """Ask, and return: that is not kept."""
    with _witnessed(state) as first:
        for _ in polls() if first else ():
            if ctx.cancelled:
                break
    return {"log": ["half" if ctx.cancelled else "done"]}


async def wait(state: State) -> State:
    """Await something that takes too long."""
    with _witnessed(state) as first:
        await asyncio.sleep(TOO_LATE_S if first else 0)
    return {"log": ["done"]}


@task
async def _long(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def wait_for_task(state: State) -> State:
    """Await a task that takes too long."""
    with _witnessed(state) as first:
        await _long(TOO_LATE_S if first else 0)
    return {"log": ["done"]}


def _row(work: Callable[..., Any]) -> StateGraph:
    return StateGraph(State).add_node("work", work).add_edge(START, "work")


_inner = _row(wait).compile()


def call(state: State) -> State:
    """Call a subgraph that takes too long."""
    return {"log": _inner.invoke({"witness": state["witness"]})["log"]}


async def outlast(state: State) -> State:
    """Await longer than it takes to notice that a claim was taken away."""
    _note(state, "work")
    await asyncio.sleep(2)
    return {"log": ["done"]}


_unkept = _row(outlast).compile(checkpointer=False)

BUILDERS = {
    "heeds_nothing": _row(_unkept),
    "heeds_check": _row(check),
    "heeds_question": _row(ask),
    "heeds_await": _row(wait),
    "heeds_task": _row(wait_for_task),
    "heeds_child": _row(_inner),
    "heeds_call": _row(call),
}
