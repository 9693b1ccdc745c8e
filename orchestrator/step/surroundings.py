"""What a step's code finds around it: config and runtime, in the forms of LangGraph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.graph.routing import channel_name
from orchestrator.graph.scope import ExecutionInfo
from orchestrator.ids import checkpoint_text, root_thread

if TYPE_CHECKING:
    from orchestrator.step.attempt import Attempt

__all__ = ["PREVIOUS", "config_for", "context_for", "info_for", "namespace_of"]

PREVIOUS = "__previous__"  # The key under which a functional graph keeps what it saved.


def namespace_of(attempt: Attempt) -> str:
    """Return the namespace of a step: that of its graph, its node and its id."""
    _, ns = root_thread(attempt.step.thread_id)
    own = f"{attempt.protocol.spec.shown(attempt.step.node)}:{attempt.origin}"
    return f"{ns}|{own}" if ns else own


def info_for(attempt: Attempt) -> ExecutionInfo:
    """Return which step runs, and how often it was tried."""
    root, _ = root_thread(attempt.step.thread_id)
    return ExecutionInfo(
        checkpoint_id=checkpoint_text(attempt.step.checkpoint_id),
        checkpoint_ns=namespace_of(attempt),
        task_id=attempt.step.step_id,
        thread_id=root,
        run_id=attempt.head.run_id,
        node_attempt=attempt.claim.failures + 1,
        node_first_attempt_time=attempt.began_s,
    )


def config_for(attempt: Attempt) -> dict[str, Any]:
    """Return the config of a step: what the caller gave, and where the step stands."""
    live, given, step = attempt.protocol.live, attempt.given, attempt.step
    root, _ = root_thread(step.thread_id)
    ns = namespace_of(attempt)
    own = {
        "thread_id": root,
        "checkpoint_ns": ns,
        "checkpoint_id": checkpoint_text(step.checkpoint_id),
    }
    metadata = {
        **given.get("metadata", {}),
        **live.config.get("metadata", {}),
        **attempt.node.options.metadata,
        **({"thread_id": root} if live.is_named else {}),
        "langgraph_step": step.number,
        "langgraph_node": attempt.protocol.spec.shown(step.node),
        "langgraph_triggers": tuple(map(channel_name, step.triggers)),
        "langgraph_path": _path(attempt),
        "langgraph_checkpoint_ns": ns,
    }
    more = {k: v for k, v in live.config.items() if k not in {"configurable", "metadata"}}
    configurable = {**given.get("configurable", {}), **live.config.get("configurable", {}), **own}
    return {
        "tags": [],
        "recursion_limit": given["recursion_limit"],
        **more,
        "metadata": metadata,
        "configurable": configurable,
    }


def _path(attempt: Attempt) -> tuple[Any, ...]:
    step = attempt.step
    name = attempt.protocol.spec.shown(step.node)
    return ("__pregel_pull", name) if step.index < 0 else ("__pregel_push", step.index, False)


def context_for(schema: Any, context: Any) -> Any:
    """Return a caller's `context` as the type the graph names for it.

    A mapping becomes an instance of a dataclass or pydantic model; anything else stays as it is.

    Raises:
        TypeError: if keys are missing or unknown.
        ValidationError: pydantic's, if values do not fit.
    """
    if schema is None or not isinstance(context, Mapping):
        return context
    if dataclasses.is_dataclass(schema) or hasattr(schema, "model_fields"):
        return schema(**context)
    return context
