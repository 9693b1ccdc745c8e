"""The output or the error of a run that ended or paused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar, cast

from orchestrator.client.options import OptionError
from orchestrator.client.snapshot import StateSnapshot, live_values, shown
from orchestrator.engine.accept import paused_by_node
from orchestrator.engine.questions import open_questions
from orchestrator.engine.records import Records
from orchestrator.errors import (
    GraphPausedError,
    GraphRecursionError,
    GraphstalkError,
    RunCancelledError,
    StepFailedError,
)
from orchestrator.graph.spec import GraphSpec
from orchestrator.model.checkpoint import RunStatus, StepError
from orchestrator.model.commit import LoadedThread

ValueT = TypeVar("ValueT")

INTERRUPT = "__interrupt__"  # The key under which a result shows open questions.


@dataclass(frozen=True, slots=True)
class GraphOutput(Generic[ValueT]):
    """What `invoke(version="v2")` returns; LangGraph's name.

    It can also be read as what `invoke` returns without `version`: by key.

    Attributes:
        value: the output, as the output schema's type where that is a class.
        interrupts: the open questions.
    """

    value: ValueT
    interrupts: tuple[Any, ...] = ()

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key of the output; of `"__interrupt__"`, the open questions."""
        if key == INTERRUPT:
            return self.interrupts
        if isinstance(self.value, Mapping):
            return self.value[key]
        if key not in self._keys():
            raise KeyError(key)
        return getattr(self.value, key)

    def __contains__(self, key: object) -> bool:
        """Return whether the output has a key."""
        return bool(self.interrupts) if key == INTERRUPT else key in self._keys()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys of the output."""
        yield from self._keys()
        if self.interrupts:
            yield INTERRUPT

    def keys(self) -> list[str]:
        """Return the keys of the output."""
        return list(self)

    def _keys(self) -> list[str]:
        if isinstance(self.value, Mapping):
            return list(self.value)
        fields = getattr(type(self.value), "model_fields", None)
        fields = fields or getattr(type(self.value), "__dataclass_fields__", {})
        return list(fields)


# What to wait for: statuses of the run, or what the state must be; `None`: its end or pause.
Until = str | Iterable[str] | Callable[[StateSnapshot], bool] | None


def reached(until: Until) -> Callable[[RunStatus, Callable[[], StateSnapshot]], bool]:
    """Return what says whether a run of a status and a state has come as far as `until`.

    Raises:
        OptionError: if it names no status, or is no function.
    """
    if callable(until):
        return lambda _, state: bool(until(state()))
    if until is None:
        return lambda status, _: not status.active
    names = {until} if isinstance(until, str) else set(until)
    unknown = sorted(str(name) for name in names if name not in set(RunStatus))
    if unknown or not names:
        known = ", ".join(repr(str(status)) for status in RunStatus)
        msg = (
            f"until must be a status, several, or a function of a snapshot (until={until!r:.100}): "
            f"use of {known}, or lambda state: …"
        )
        raise OptionError(msg)
    return lambda status, _: str(status) in names


def without_questions(found: Any) -> Any:
    """Return the output of a run without its open questions, as handlers hear of it."""
    if isinstance(found, GraphOutput):
        return found.value
    if isinstance(found, dict) and INTERRUPT in found:
        return {key: value for key, value in found.items() if key != INTERRUPT}
    return found


def outcome_of(
    thread_id: str,
    loaded: LoadedThread,
    records: Records,
    spec: GraphSpec | None,
    raised: BaseException | None = None,
    keys: tuple[str, ...] = (),
) -> Any:
    """Return the output of a run that ended or paused, with its open questions.

    Args:
        thread_id: the thread.
        loaded: the thread at its head.
        records: how it is stored.
        spec: the graph, if the caller has it; without, all keys of the state are output.
        raised: what a node raised in this process.
        keys: the keys of the state to return, instead of the graph's output.

    Raises:
        StepFailedError: if the run failed; `raised` itself, if that is given.
        GraphRecursionError: if it used up its supersteps.
        RunCancelledError: if it was cancelled.
        GraphPausedError: if a node paused it.
    """
    head = loaded.head
    if head.status is RunStatus.FAILED:
        raise raised if raised is not None else failure_of(thread_id, loaded, records)
    if head.status is RunStatus.CANCELLED:
        msg = f"the run {head.run_id} of thread {thread_id!r} was cancelled"
        raise RunCancelledError(msg)
    paused = paused_by_node(loaded) if head.status is RunStatus.PAUSED else None
    if paused is not None:
        node = spec.shown(paused.step.node) if spec else paused.step.node
        msg = (
            f"the thread {thread_id!r} is paused at the node {node!r}: "
            f"{paused.reason or 'no reason given'}. Give it an input, or None, to continue there"
        )
        raise GraphPausedError(msg, thread_id=thread_id, node=node, reason=paused.reason)
    checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    live = live_values(checkpoint, loaded, records, spec)
    values = shown(live, spec, keys or (spec.output_keys if spec else ()))
    asked = [
        records.interrupt(step.asks[question]) for question, step in open_questions(loaded).items()
    ]
    if asked and isinstance(values, dict):
        return {**values, INTERRUPT: asked}
    return {INTERRUPT: asked} if asked else values


def failure_of(thread_id: str, loaded: LoadedThread, records: Records) -> GraphstalkError:
    """Return the error for a run that failed in another process, or in this one long ago.

    Its cause is what the node raised, if that class is known here.
    """
    head = loaded.head
    record = records.error(head.error)
    if record is not None and record.type == "GraphRecursionError":
        return GraphRecursionError(record.message)
    fields = asdict(record) if record else {}
    where = f" in node {record.node!r}" if record and record.node else ""
    what = f"{record.type}: {record.message}" if record else "no record of why"
    msg = (
        f"the run {head.run_id} of thread {thread_id!r} failed{where}: {what}. "
        f"Resume the thread to try again"
    )
    failure = StepFailedError(msg, fields)
    failure.__cause__ = _original(record) if record else None
    return failure


def _original(record: StepError) -> Exception | None:
    """Return what was raised, where its class is known here already.

    The record is stored data, so nothing is imported or called by its names: the class is looked up
    in modules that are loaded, and made without its own code.
    """
    module = sys.modules.get(record.module)
    known = vars(module).get(record.type) if module is not None else None
    if not (isinstance(known, type) and issubclass(known, Exception)):
        return None
    builtin: Any = next(base for base in known.__mro__ if base.__module__ == "builtins")
    try:
        return cast("Exception", builtin.__new__(known, record.message))
    except TypeError:  # Such as a group, which is nothing without the errors in it.
        return None
