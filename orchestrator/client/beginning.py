"""What a run begins with: its options, and the checkpoint from which it starts or continues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator import limits
from orchestrator.client.options import CallOptions, SubmitOptions
from orchestrator.client.threadconfig import ConfigError, ThreadConfig, parse_config
from orchestrator.engine.accept import RunConfig
from orchestrator.engine.records import Records
from orchestrator.errors import InvalidUpdateError
from orchestrator.graph.routing import Command, own
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import check_thread_id, new_uuid
from orchestrator.model.commit import LoadedThread
from orchestrator.step.call import updates_of
from orchestrator.step.facts import Advanced, Left

__all__ = ["checked_input", "checked_submitted", "first_fact", "left_in", "run_config"]


def run_config(
    parsed: ThreadConfig, options: CallOptions | SubmitOptions, spec: GraphSpec | None
) -> RunConfig:
    """Return what a run is started with besides its input, for every entrance alike.

    Args:
        parsed: the config of the call.
        options: its options, checked.
        spec: the graph, if the caller has it.
    """
    return RunConfig(
        run_id=new_uuid(),
        fingerprint=spec.fingerprint if spec else "",
        state_version=spec.lineage.version if spec else None,
        recursion_limit=parsed.recursion_limit or limits.RECURSION_LIMIT_DEFAULT,
        metadata=parsed.metadata,
        configurable=parsed.configurable,
        resumes_max=parsed.resumes_max,
        on_pending=options.get("on_pending") or "discard",
        on_corrupt=options.get("on_corrupt") or "raise",
        multitask=options.get("multitask_strategy") or "reject",
    )


def checked_submitted(config: Mapping[str, Any] | None, thread_id: Any) -> ThreadConfig:
    """Understand the config of a run that this process does not wait for.

    Raises:
        ConfigError: if it has what only a call that waits can use, or names two threads.
    """
    named = {} if thread_id is None else {"thread_id": check_thread_id(thread_id)}
    parsed = parse_config({**(config or {}), **named})
    unused = next((key for key in ("callbacks", "run_id") if parsed.more.get(key)), "")
    if unused:
        msg = (
            f"{unused} must not be in the config of submit: handlers hear of a run in the process "
            f"that waits for it. Leave it out, or call invoke on the graph with a CeleryExecutor"
        )
        raise ConfigError(msg)
    if parsed.ns or parsed.names.get("checkpoint_id"):
        msg = (
            "the config of submit must name a thread only: a submitted run begins at its latest "
            "checkpoint. Leave out checkpoint_id and checkpoint_ns, or fork the thread there first"
        )
        raise ConfigError(msg)
    return parsed


def checked_input(spec: GraphSpec | None, value: Any) -> Any:
    """Return the input of a submitted run.

    Raises:
        InvalidUpdateError: if it is a `Command`, or no update of the graph's state.
    """
    value = own(value)
    if isinstance(value, Command):
        msg = (
            f"the input of submit must be an update of the state ({value!r:.100}): answer with "
            f"client.resume(thread_id, answer), or give the Command to invoke on the graph"
        )
        raise InvalidUpdateError(msg)
    if spec is not None and spec.start.action is None:
        updates_of(spec, spec.start, value)
    return value


def first_fact(
    thread_id: str, loaded: LoadedThread, records: Records, spec: GraphSpec, *, resumes: bool
) -> Advanced:
    """Return the fact that a run begins, or goes on, at the thread's head.

    Args:
        thread_id: the thread.
        loaded: the thread at its head, with values.
        records: how it is stored.
        spec: its graph.
        resumes: whether the run goes on: its state is shown then, as if all of it were new.
    """
    frame = records.frame(loaded)
    return Advanced(
        thread_id=thread_id,
        spec=spec,
        frame=frame,
        changed=None if resumes else frozenset(),
        begins=frame.checkpoint.plan if loaded.head.status.active else (),
        completed={i: records.outcome(data).writes for i, data in loaded.outcomes.items()},
        left=left_in(loaded, records) if resumes else {},
    )


def left_in(loaded: LoadedThread, records: Records) -> Mapping[str, Left]:
    """Return what the steps of a thread had asked, and how they had failed, by step id."""
    found: dict[str, Left] = {}
    for step_id, step in loaded.steps.items():
        if not step.completed and (step.asks or step.error):
            asked = tuple(map(records.interrupt, filter(None, step.asks.values())))
            found[step_id] = asked, records.error(step.error)
    for step_id, data in loaded.outcomes.items():
        outcome = records.outcome(data)
        if outcome.interrupts or outcome.error:
            found[step_id] = outcome.interrupts, records.error(outcome.error)
    return found
