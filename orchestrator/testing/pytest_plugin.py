"""Fixtures for tests of graphs. pytest finds them wherever graphstalk is installed.

They import the engine when a test asks for one, so that other tests start no later.
"""

from __future__ import annotations

from typing import Any, Protocol

import pytest

import orchestrator
from orchestrator.testing import ManualClock

__all__ = ["CompileGraph", "compile_graph", "graph_checkpointer", "graph_clock"]


class CompileGraph(Protocol):
    """The type of the fixture `compile_graph`."""

    def __call__(
        self, builder: orchestrator.StateGraph[Any], **options: Any
    ) -> orchestrator.CompiledStateGraph[Any]:
        """Compile the graph; `options` are those of `StateGraph.compile`."""


@pytest.fixture
def graph_clock() -> ManualClock:
    """Return a clock that moves only when the test or a waiting step moves it."""
    return ManualClock()


@pytest.fixture
def graph_checkpointer(graph_clock: ManualClock) -> orchestrator.MemoryCheckpointer:
    """Return an empty durable store in memory, whose time is `graph_clock`."""
    return orchestrator.MemoryCheckpointer(clock=graph_clock)


@pytest.fixture
def compile_graph(
    graph_checkpointer: orchestrator.MemoryCheckpointer, graph_clock: ManualClock
) -> CompileGraph:
    """Return a function that compiles a builder with the checkpointer and the clock."""

    def compiled(
        builder: orchestrator.StateGraph[Any], **options: Any
    ) -> orchestrator.CompiledStateGraph[Any]:
        executor = orchestrator.InProcess(clock=graph_clock)
        return builder.compile(graph_checkpointer, **{"executor": executor, **options})

    return compiled
