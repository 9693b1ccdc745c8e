"""A journey whose process is killed in the middle, and continues in another one.

Each node writes a line to a journal outside, which counts how often it ran.
"""

import operator
import os
import signal
from pathlib import Path
from typing import Annotated, TypedDict

from orchestrator import START, StateGraph

STOPS = ("train", "hotel", "museum", "dinner")
DEADLY = "museum"  # While this one runs for the first time, the process is killed.


class State(TypedDict, total=False):
    """A journey."""

    folder: str
    booked: Annotated[list[str], operator.add]


def _booking(stop: str) -> tuple[str, object]:
    def book(state: State) -> State:
        journal = Path(state["folder"]) / "journal.txt"
        with journal.open("a", encoding="utf-8") as lines:
            lines.write(f"{stop}\n")
        is_first = journal.read_text(encoding="utf-8").count(stop) == 1
        if stop == DEADLY and is_first:
            os.kill(os.getpid(), signal.SIGKILL)  # No handler, no `finally`, no goodbye.
        return {"booked": [stop]}

    return stop, book


builder = StateGraph(State)
builder.add_sequence([_booking(stop) for stop in STOPS])
builder.add_edge(START, STOPS[0])
