"""One attempt at a claimed step: it runs the node, its routers and its error handler.

Knows how user code is called and what surrounds it; knows nothing of what is committed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from orchestrator.engine.apply import HANDLED
from orchestrator.engine.carryover import reason_in
from orchestrator.errors import (
    GraphBubbleUp,
    NodeCancelledError,
    NodeError,
    ParentCommand,
    StepFailedError,
)
from orchestrator.frozen import frozen, replace
from orchestrator.graph.policy import delay_after
from orchestrator.graph.scope import Runtime, Scope, Scratchpad, is_place, open_scope, silent
from orchestrator.graph.spec import Handler, NodeSpec, handler_name
from orchestrator.ids import root_thread, short_hash
from orchestrator.integrations import langchain as bridge
from orchestrator.integrations.validation import fit
from orchestrator.model.checkpoint import StepError
from orchestrator.step.async_loop import cancel_scope
from orchestrator.step.claimed_step import ClaimedStep
from orchestrator.step.context import PREVIOUS, StepContext, config_for, context_for, info_for
from orchestrator.step.invoke import finish, input_of, parent_write, writes_after
from orchestrator.step.node_cache import Cached, fits
from orchestrator.step.step_host import StepHost

__all__ = ["FAILED", "Attempt", "Result"]

FAILED = "failed"  # The note under which a failure is kept while its handler runs.
HANDLER_CHILDREN = 1_000_000  # The number of the first subgraph that a handler calls.


@frozen(kw_only=False)
class Result:
    """What an attempt wrote."""

    writes: tuple[tuple[str, Any], ...]
    cached: bool = False


class _Extras(dict[str, Any]):
    """What may be asked for by name, made when it is."""

    def __init__(self, attempt: Attempt, error: NodeError | None) -> None:
        super().__init__(error=error)
        self._attempt = attempt

    def __missing__(self, name: str) -> Any:
        return _EXTRAS[name](self._attempt)


@dataclass(slots=True)
class Attempt(ClaimedStep):
    """Runs the code of a claimed step once: its node and routers, or its error handler."""

    host: StepHost = field(init=False)

    def __post_init__(self) -> None:
        ClaimedStep.__post_init__(self)
        self.host = StepHost(self)
        self.scope = self._scope()

    def _scope(self) -> Scope:
        context = self.services.live.context
        if context is None and b"context" in self.head.config:
            context = context_for(self.services.spec.context_schema, self.given.get("context"))
        return Scope(
            scratchpad=self.scratchpad,
            make_config=partial(config_for, self),
            make_runtime=partial(self._runtime, context),
            host=self.host,
        )

    def _runtime(self, context: Any) -> Runtime[Any]:
        live, previous = self.services.live, self.frame.values.get(PREVIOUS)
        listened = live.listener is not None or live.logs or bool(self.step.queue)
        runtime: Runtime[Any] = Runtime(
            context=context,
            store=live.store,
            stream_writer=self.write if listened else silent,
            previous=previous,
            execution_info=info_for(self),
            control=live.control,
        )
        return replace(runtime, heartbeat=self.watch.heartbeat) if self.watch else runtime

    # ---- running ------------------------------------------------------------------------------

    def run(self) -> Result:
        """Run the node and its routers; return what the step writes.

        Raises:
            GraphInterrupt: if it asks something.
            ParentCommand: if it returns a command for a graph around its own, and there is none.
            BaseException: whatever else user code raises.
        """
        close = open_scope(self.scope)
        try:
            return self._run()
        except ParentCommand as raised:
            return self._for_parent(raised.command)
        finally:
            close()

    def _for_parent(self, command: Any) -> Result:
        """Return the write by which a step hands its command to the graph around its own."""
        write = parent_write(f"the node {self.step.node!r}", command)
        if not root_thread(self.step.thread_id)[1]:
            raise ParentCommand(command)  # No graph is around: the caller of the run may handle it.
        return Result((write,))

    def _run(self) -> Result:
        node, spec = self.node, self.services.spec
        seen = input_of(spec, self.frame, self.planned, self.argument() if self.step.arg else None)
        if FAILED in self.notes:  # An earlier attempt had come as far as the handler.
            return self._handled(node, seen, self._failure())
        cached = None
        if node.options.cache is not None:
            cached = Cached.of_node(self.services, node, seen, self.step.graph)
        found = cached.get() if cached else None
        if found is not None:
            writes = self.services.records.outcome(found.value).writes
            if fits(spec, writes):
                return Result(tuple(bridge.CodeRun(self).named(writes)), cached=True)
        with bridge.node_run(self, seen) as run:
            run.result = self._guarded(node.name, partial(self._called, node, seen))
            extras = self.extras() if node.branches else {}
            frame = run.frame() if run.pushed else self.frame
            after = writes_after(spec, frame, node, run.result, extras, run)
            if node.branches:
                self.host.check_asked(self.scope.scratchpad)  # By its routers, too.
        writes = (*run.pushed, *after)
        if cached:
            cached.put(self.services.stored(run.unnamed(writes)))
        return Result(writes)

    def _guarded(self, name: str, call: Callable[[], Any]) -> Any:
        """Call a node or its handler with its time limit; raise what it asked."""
        code = partial(self.watch.run, name, call) if self.watch else call
        try:
            return self.host.guarded(self.scope.scratchpad, code)
        except (asyncio.CancelledError, CancelledError) as error:
            raise NodeCancelledError(name) from error

    def _called(self, node: NodeSpec, seen: Any) -> Any:
        if node.subgraph is not None:
            return self.host.run_child(node.subgraph, seen, {})
        if node.action is None:
            return self._hooked(seen)
        given: dict[str, Any] = {}
        if node.injected:
            extras = self.extras()
            given = {name: extras[name] for name in node.injected}
        try:
            return finish(node.action(seen, **given))
        except ParentCommand as raised:
            if raised.command.graph is not None:
                raise
            return raised.command  # Of a subgraph that the node called: it is for this graph.

    def _hooked(self, given: Any) -> Any:
        """Return an input, or the update of the hook that is called when a run resumes."""
        spec, reason = self.services.spec, reason_in(self.frame.checkpoint)
        if not reason or spec.on_resume is None:
            return given
        state = spec.viewer.read(spec.channels, self.frame.values)
        update = finish(spec.on_resume(state, reason))
        if given is None or update is None:
            return given if update is None else update
        return [*dict(given).items(), *dict(update).items()]  # Both: a key may be written twice.

    def extras(self, error: NodeError | None = None) -> Mapping[str, Any]:
        """Return what nodes, routers and handlers may ask for by parameter name."""
        return _Extras(self, error)

    def context(self) -> StepContext:
        """Return what code asks for as `ctx`."""
        root, _ = root_thread(self.step.thread_id)
        return StepContext(
            thread_id=root,
            run_id=self.head.run_id,
            node=self.services.spec.shown(self.step.node),
            step_id=self.step.step_id,
            number=self.step.number,
            attempt=self.claim.attempt,
            worker=self.services.access.owner,
            config=self.scope.config,
            key=self.key,
            host=self.host,
            scope=cancel_scope.get(),
        )

    # ---- handlers -----------------------------------------------------------------------------

    @property
    def handler(self) -> Handler | None:
        """Return what runs if the node fails for good; nothing does if that is what failed."""
        return None if FAILED in self.notes else self.node.options.handler

    def handle(self, error: Exception, record: StepError) -> Result | None:
        """Run the node's error handler, if it has one; the failure is noted first.

        Raises:
            BaseException: whatever the handler raises.
        """
        node = self.node
        if self.handler is None:
            return None
        self.host.note(FAILED, self.services.records.store_error(record))
        close = open_scope(self.scope)
        try:
            arg = self.argument() if self.step.arg else None
            seen = input_of(self.services.spec, self.frame, self.planned, arg)
            return self._handled(node, seen, error)
        finally:
            close()

    def _failure(self) -> Exception:
        """Return what the node raised in an earlier attempt, as far as it is known."""
        record = self.services.records.error(self.notes[FAILED])
        assert record is not None
        return StepFailedError(f"{record.type}: {record.message}", asdict(record))

    def _handled(self, node: NodeSpec, seen: Any, error: Exception) -> Result:
        handler = node.options.handler
        assert handler is not None
        failed = NodeError(node.name, error)
        self._leave_node()
        close = open_scope(self.scope)
        try:
            with bridge.node_run(self, seen) as run:
                extras = self.extras(failed)
                given = {name: extras[name] for name in handler.injected}
                run.result = self._tried(handler, lambda: finish(handler.action(seen, **given)))
                # As in LangGraph, nothing follows but where the handler leads.
                alone = replace(node, writes=(), branches=(), subgraph=None)
                spec = self.services.spec
                after = writes_after(spec, run.frame(), alone, run.result, extras, run)
        finally:
            close()
        return Result(((HANDLED, True), *run.pushed, *after))

    def _leave_node(self) -> None:
        """Separate what follows, since another attempt may run the handler without the node."""
        outer, self.host = self.scope, StepHost(self, "handler/", HANDLER_CHILDREN)
        seed = short_hash(outer.scratchpad.seed, "handler")
        answers = {i: v for i, v in outer.scratchpad.answers.items() if not is_place(i)}
        self.scope = Scope(
            scratchpad=Scratchpad(seed, answers, fit=fit),
            make_config=lambda: outer.config,
            make_runtime=lambda: outer.runtime,
            host=self.host,
        )

    def _tried(self, handler: Handler, call: Callable[[], Any]) -> Any:
        """Return what a handler returned in its first attempt that did not fail.

        Each attempt has the time limit of the node.
        """
        failures, name = 0, handler_name(self.node.name)
        while True:
            if self.watch:
                self.watch.restart()
            try:
                return self._guarded(name, call)
            except GraphBubbleUp:
                raise
            except Exception as error:
                failures += 1
                delay_s = delay_after(handler.retry, error, failures, random.uniform(0, 1))  # noqa: S311
                if delay_s is None:
                    raise
                self.services.access.clock.sleep(delay_s)


_EXTRAS: Mapping[str, Callable[[Attempt], Any]] = {
    "config": lambda attempt: attempt.scope.config,
    "previous": lambda attempt: attempt.scope.runtime.previous,
    "runtime": lambda attempt: attempt.scope.runtime,
    "store": lambda attempt: attempt.scope.runtime.store,
    "writer": lambda attempt: attempt.scope.runtime.stream_writer,
    "ctx": Attempt.context,
}
