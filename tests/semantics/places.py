"""The places where a graph can run, all behind the same few words.

A place gives graphs by name, keeps their threads, and shows what really ran. Each graph that it
gives has a connection and an owner of its own, as if another process had compiled it.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from orchestrator import (
    CeleryExecutor,
    CompiledStateGraph,
    MemoryCheckpointer,
    RedisCheckpointer,
    SqliteCheckpointer,
    StateGraph,
    StepFailedError,
)
from orchestrator.client.calls import Calls
from orchestrator.maintenance.auditor import Auditor
from orchestrator.model.audit import Damage
from orchestrator.model.commit import Event
from tests.integration.fleet import Fleet
from tests.semantics import graphs
from tests.semantics.elsewhere import Elsewhere

__all__ = ["KINDS", "MARKS", "Place", "apart"]

_T = TypeVar("_T")

KINDS = ("memory", "sqlite", "redis", "fleet")
MARKS = dict.fromkeys(("redis", "fleet"), (pytest.mark.server, pytest.mark.slow))
WAIT_S = 40.0  # Two cores, shared with whatever else runs.
POLL_S = 0.002
_numbers = itertools.count()


def apart(*kinds: str) -> list[Any]:
    """Return these kinds of places as parameters of a test, each with its marks."""
    return [pytest.param(kind, marks=MARKS.get(kind, ())) for kind in kinds or KINDS]


class Place:
    """One kind of place, for the length of a test."""

    def __init__(self, kind: str, folder: Path, fleet: Fleet | None) -> None:
        """Prepare it; `fleet` is the server of the kinds that need one, and the workers."""
        self.kind, self.folder, self._fleet = kind, folder, fleet
        self.closing = contextlib.ExitStack()
        self._memory = MemoryCheckpointer()
        self.thread = ""
        self.another()

    def another(self) -> str:
        """Take another thread, with a witness of its own; return its id."""
        number = next(_numbers)
        self.thread = f"thread-{number}"
        self.witness = str(self.folder / f"witness-{number}")
        return self.thread

    @property
    def fleet(self) -> Fleet:
        """Return the fleet of a place that has one."""
        assert self._fleet is not None
        return self._fleet

    # ---- graphs -------------------------------------------------------------------------

    def graph(self, name: str) -> CompiledStateGraph:
        """Return a graph that runs here, as another process would have it."""
        spec = getattr(graphs, name).spec
        if self.kind == "fleet":
            executor = CeleryExecutor(settings=self.fleet.settings, timeout_s=WAIT_S)
            return CompiledStateGraph(spec, executor=executor)
        return CompiledStateGraph(spec, checkpointer=self._store())

    def compiled(self, builder: StateGraph, **options: Any) -> CompiledStateGraph:
        """Return a graph of a test's own, which this process runs, with threads kept here."""
        return builder.compile(self._store() if self.kind != "memory" else self._memory, **options)

    def _store(self) -> Any:
        if self.kind == "memory":
            return self._memory
        if self.kind == "sqlite":
            made: Any = SqliteCheckpointer(self.folder / "threads.db")
        else:
            made = RedisCheckpointer(settings=self.fleet.settings)
        self.closing.callback(made.close)
        return made

    def call(self, graph: CompiledStateGraph, value: Any, **options: Any) -> Any:
        """Invoke a graph on the thread; return its output without what belongs to the test."""
        if isinstance(value, dict):
            value = {"witness": self.witness, **value}
        output = graph.invoke(value, self.thread, **options)
        return {key: item for key, item in output.items() if key != "witness"}

    def values(self, graph: CompiledStateGraph) -> dict[str, Any]:
        """Return the latest state, without what belongs to the test."""
        values = graph.get_state(self.thread).values
        return {key: item for key, item in values.items() if key != "witness"}

    def cancel(self, graph: CompiledStateGraph) -> bool:
        """End the thread's run, from outside."""
        if self.kind == "fleet":
            return self.fleet.client.cancel(self.thread)
        return Calls(graph.checkpointer, graph.records).cancel(self.thread)

    def elsewhere(self, *, behind_s: float = 0) -> Elsewhere:
        """Start a process on another host, whose clock may be behind."""
        if self.kind == "sqlite":
            where = {"kind": "sqlite", "path": str(self.folder / "threads.db")}
        else:
            where = {"kind": self.kind, "env": self.fleet.variables}
        return self.closing.enter_context(Elsewhere({**where, "behind_s": behind_s}))

    def audit(self) -> list[Damage]:
        """Look whether all threads here are as they were written."""
        store = self.fleet.store if self._fleet else self._store()
        return list(Auditor(store, repair=False).all().found)

    # ---- what happens ---------------------------------------------------------------------

    @contextlib.contextmanager
    def failing(self, error: type[Exception], *words: str) -> Iterator[None]:
        """Check that a node's exception comes out: itself here, as a record from a fleet."""
        expected = StepFailedError if self.kind == "fleet" else error
        with pytest.raises(expected) as caught:
            yield
        assert all(word in str(caught.value) for word in words), str(caught.value)
        if isinstance(caught.value, StepFailedError):
            assert caught.value.record["type"] == error.__qualname__
            assert caught.value.record["module"] == error.__module__
            assert type(caught.value.__cause__) is error

    def ran(self, name: str | None = None) -> list[str]:
        """Return which nodes really ran, in order; or how often this one did."""
        return graphs.ran(self.witness, name)

    def open(self, name: str) -> None:
        """Let the node go on that waits at its gate."""
        graphs.gate_of(self.witness, name).touch()

    def wait_ran(self, name: str, times: int = 1) -> None:
        """Wait until a node really runs for so many times."""
        self.wait_until(lambda: len(self.ran(name)) >= times, f"{name} runs {times} times")

    def wait_until(self, happened: Callable[[], _T], what: str) -> _T:
        """Wait until `happened` returns something true, and return that."""
        end = time.monotonic() + WAIT_S
        while True:
            found = happened()
            if found:
                return found
            assert time.monotonic() < end, f"not within {WAIT_S:g} s: {what}"
            time.sleep(POLL_S)

    def events(self, graph: CompiledStateGraph, *types: str) -> list[Event]:
        """Return the thread's events of these types, or all."""
        found = graph.checkpointer.events(self.thread)
        return [event for event in found if not types or event.type in types]
