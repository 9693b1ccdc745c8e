"""Facts about a thread, emitted as they happen; streams are made of them.

The step runner emits facts to a listener in this process. On a fleet the same facts are read
from the thread's event log and its checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from orchestrator.engine.advance import Frame
from orchestrator.frozen import frozen
from orchestrator.graph.spec import GraphSpec
from orchestrator.model.checkpoint import Interrupt, PlannedStep, StepError

__all__ = [
    "Advanced",
    "Asked",
    "Done",
    "Fact",
    "Failed",
    "Left",
    "Listener",
    "Missed",
    "Stopped",
    "TaskDone",
    "TaskStarted",
    "Written",
]


# What a step had asked before, and how it had failed.
Left = tuple[tuple[Interrupt, ...], StepError | None]


@frozen
class Fact:
    """Something that happened to a thread.

    Attributes:
        thread_id: the thread; a subgraph's own.
        spec: its graph, where the process has it.
        ts_ms: when it was logged, if it was read from a log.
    """

    thread_id: str
    spec: GraphSpec | None = None
    ts_ms: int | None = None


@frozen
class Advanced(Fact):
    """There is a new checkpoint, or a run continues from one.

    Attributes:
        frame: the checkpoint with its plan, and the state's values.
        changed: the keys of the state that are new in it; `None`: all count as new.
        begins: the steps that begin now.
        completed: what completed steps of it had written before, by step id.
        left: what its steps had asked before, and how they had failed, by step id.
    """

    frame: Frame
    changed: frozenset[str] | None
    begins: tuple[PlannedStep, ...] = ()
    completed: Mapping[str, tuple[tuple[str, Any], ...]] = field(default_factory=dict)
    left: Mapping[str, Left] = field(default_factory=dict)


@frozen
class Missed(Fact):
    """Events of the log that cannot be read any more: what happened there is not known.

    Attributes:
        first: the number of the first of them.
        last: that of the last.
        reason: `trimmed`, `damaged`, or `pruned`: their checkpoint is there no more.
    """

    first: int
    last: int
    reason: str


@frozen
class Stopped(Fact):
    """A run stopped before or after a node, as its breakpoints say."""


@frozen
class Done(Fact):
    """A step completed."""

    number: int  # Of its superstep.
    step_id: str
    node: str
    writes: tuple[tuple[str, Any], ...]
    cached: bool = False


@frozen
class Asked(Fact):
    """A step waits for answers; `values` is the state it waits in."""

    number: int
    step_id: str
    node: str
    interrupts: tuple[Interrupt, ...]
    values: Mapping[str, Any]


@frozen
class Failed(Fact):
    """A step failed for good."""

    number: int  # Of its superstep.
    step_id: str
    node: str
    error: StepError


@frozen
class TaskStarted(Fact):
    """A `@task` began inside a step."""

    number: int
    id: str
    name: str
    input: Any


@frozen
class TaskDone(Fact):
    """A `@task` ended inside a step."""

    number: int
    id: str
    name: str
    result: Any = None
    error: str | None = None
    interrupts: tuple[Interrupt, ...] = ()
    cached: bool = False


@frozen
class Written(Fact):
    """Something was written to a stream; `mode` is `custom` or `messages`."""

    mode: str
    data: Any


Listener = Callable[[Fact], None]
