"""Async code that a test cancels, and small graphs to put it into."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from orchestrator import StateGraph

__all__ = ["LONG_S", "State", "Witness", "row", "says"]

LONG_S = 30.0  # Nothing waits so long, unless a test fails.


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


class Witness:
    """What async code of a test does: it waits until it is cancelled, the first time."""

    def __init__(self) -> None:
        self.began, self.cancelled, self.cleaned, self.runs = asyncio.Event(), 0, 0, 0

    async def wait(self) -> None:
        self.runs += 1
        self.began.set()
        if self.runs > 1:
            return
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            self.cancelled += 1
            await asyncio.sleep(0)
            self.cleaned += 1
            raise

    async def node(self, state: State) -> State:
        await self.wait()
        return {"log": ["waited"]}

    @property
    def seen(self) -> tuple[int, int, int]:
        return self.runs, self.cancelled, self.cleaned


def says(name: str) -> Callable[[State], State]:
    return lambda state: {"log": [name]}


def row(*nodes: tuple[str, Any]) -> StateGraph:
    return StateGraph(State).add_sequence(list(nodes)).set_entry_point(nodes[0][0])
