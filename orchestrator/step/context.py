"""The context of a node: its step, its config, and records of effects that must happen once."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.clock import Clock
from orchestrator.errors import UnknownEffectError
from orchestrator.graph.routing import channel_name
from orchestrator.graph.scope import ExecutionInfo
from orchestrator.ids import checkpoint_text, root_thread
from orchestrator.step.async_loop import Cancelled, CancelScope, cancel_scope
from orchestrator.step.claimed_step import ClaimedStep
from orchestrator.step.step_host import StepHost

__all__ = ["PREVIOUS", "StepContext", "config_for", "context_for", "info_for", "namespace_of"]

PREVIOUS = "__previous__"  # The key under which a functional graph keeps what it saved.


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """Passed to nodes that have a parameter named `ctx`.

    Attributes:
        thread_id: the thread.
        run_id: the run.
        node: the node's own name.
        step_id: the step; the same over all attempts, unique within its thread.
        number: the superstep the step belongs to.
        attempt: how many attempts there were with this one; failures and worker deaths count.
        worker: the process that runs it.
        config: what the run was started with, and the place of the step.
    """

    thread_id: str
    run_id: str
    node: str
    step_id: str
    number: int
    attempt: int
    worker: str
    config: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    host: StepHost | None = field(default=None, repr=False)
    scope: CancelScope | None = field(default=None, repr=False)

    @property
    def cancelled(self) -> bool:
        """Whether what the node does from now on will not be kept.

        So it is when the run was cancelled, another process has claimed the step, the
        awaited call was cancelled, or the time limit of the node is over. The worker finds out
        within about a second that a run was cancelled elsewhere.
        """
        inner = cancel_scope.get()
        return any(scope is not None and scope.ends_runs for scope in (self.scope, inner))

    def check(self) -> None:
        """End the node here if what it does will not be kept; this is no failure.

        Synchronous nodes that take long call it now and then. It ends the node by an exception that
        `except Exception` does not catch, so `finally` blocks run. Coroutines need no call: they
        are cancelled where they await.

        Raises:
            Cancelled: if `cancelled` is true.
        """
        if self.cancelled:
            raise Cancelled

    @property
    def idempotency_key(self) -> str:
        """Return a key for effects outside: stable over attempts, unique to the step. (INV-5)"""
        return self.key

    def once(
        self,
        name: str,
        effect: Callable[[], Any],
        *,
        reconcile: Callable[[], Any] | None = None,
    ) -> Any:
        """Run `effect` at most once per step, as far as can be known, and return its result.

        That it begins is stored before, its result after. Another attempt at the step gets the
        stored result. If an attempt ended in between, whether the effect happened is unknown.

        Args:
            name: of the effect, unique within the step.
            effect: what to do; its result must be storable.
            reconcile: asked instead when it is not known whether the effect happened: it finds out
                (or does it again with an idempotency key) and returns the result.

        Raises:
            UnknownEffectError: if it is not known, and there is no `reconcile`.
        """
        host = self._host()
        records = host.attempt.services.records
        done, begun = f"once:{name}:done", f"once:{name}:begun"
        found = host.noted(done)
        if found is not None:
            return records.decode(found)
        if host.noted(begun) is not None:
            if reconcile is None:
                msg = (
                    f"the effect {name!r} of the step {self.step_id} (thread {self.thread_id!r}, "
                    f"node {self.node!r}) was begun by an earlier attempt and not seen to end. "
                    f"Check whether it happened, and give once() a reconcile function"
                )
                raise UnknownEffectError(msg)
            result = reconcile()
        else:
            host.note(begun, b"")
            result = effect()
        host.note(done, records.check(f"the result of the effect {name!r}", result))
        return result

    def sleep(self, seconds: float | dt.timedelta) -> None:
        """Let that much time pass, and hold no worker meanwhile.

        The node ends here, and runs again from its beginning when the time has come; then this call
        returns at once. So the code before it runs again, as with `interrupt`, and neither
        deaths nor deploys begin the time anew. Sleeps are identified by the order in which a node
        comes to them. Not to be caught: it ends the node by an exception.

        Args:
            seconds: how long, in the time of the store.
        """
        if isinstance(seconds, dt.timedelta):
            seconds = seconds.total_seconds()
        self._host().sleep(seconds)

    def now(self) -> dt.datetime:
        """Return the time (UTC) at which an attempt at the step first asked for it here."""
        host = self._host()
        clock = host.attempt.services.access.clock
        found: dt.datetime = host.drawn("now", lambda: _time_of(clock))
        return found

    def random(self) -> float:
        """Return a number from 0 to 1: the same here in every attempt at the step."""
        return float(self._host().drawn("random", random.random))

    def uuid(self) -> uuid.UUID:
        """Return a random id: the same here in every attempt at the step."""
        found: uuid.UUID = self._host().drawn("uuid", uuid.uuid4)
        return found

    def _host(self) -> StepHost:
        if self.host is None:
            msg = "this context belongs to no running step, so it can record nothing"
            raise RuntimeError(msg)
        return self.host


def _time_of(clock: Clock) -> dt.datetime:
    return dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=clock.now_ms())


def namespace_of(attempt: ClaimedStep) -> str:
    """Return the namespace of a step: that of its graph, its node and its id."""
    _, ns = root_thread(attempt.step.thread_id)
    own = f"{attempt.services.spec.shown(attempt.step.node)}:{attempt.origin}"
    return f"{ns}|{own}" if ns else own


def info_for(attempt: ClaimedStep) -> ExecutionInfo:
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


def config_for(attempt: ClaimedStep) -> dict[str, Any]:
    """Return the config of a step: what the caller gave, and the place of the step."""
    live, given, step = attempt.services.live, attempt.given, attempt.step
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
        "langgraph_node": attempt.services.spec.shown(step.node),
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


def _path(attempt: ClaimedStep) -> tuple[Any, ...]:
    step = attempt.step
    name = attempt.services.spec.shown(step.node)
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
