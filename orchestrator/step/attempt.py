"""One attempt at a claimed step: its surroundings, its node, and what came of it.

Knows how user code is called and what surrounds it; knows nothing of what is committed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.engine.advance import Frame
from orchestrator.engine.apply import HANDLED
from orchestrator.engine.carryover import carried_in, reason_in, timeout_of
from orchestrator.envelope.damage import check_damage
from orchestrator.errors import (
    GraphBubbleUp,
    NodeCancelledError,
    NodeError,
    ParentCommand,
    StepFailedError,
)
from orchestrator.frozen import frozen, replace
from orchestrator.graph.policy import TimeoutPolicy, delay_after
from orchestrator.graph.scope import Runtime, Scope, Scratchpad, is_place, open_scope, silent
from orchestrator.graph.spec import Handler, NodeSpec, handler_name
from orchestrator.ids import root_thread, short_hash
from orchestrator.model.checkpoint import Checkpoint, Head, Interrupt, PlannedStep, StepError
from orchestrator.model.commit import Claim, ReadyStep, StoredCheckpoint
from orchestrator.model.tails import Encoded, whole
from orchestrator.step import bridge
from orchestrator.step.answers import fit
from orchestrator.step.caching import Cached, fits
from orchestrator.step.call import finish, input_of, writes_after
from orchestrator.step.cancelscope import cancel_scope
from orchestrator.step.context import StepContext
from orchestrator.step.facts import Fact, Written
from orchestrator.step.host import StepHost
from orchestrator.step.surroundings import PREVIOUS, config_for, context_for, info_for
from orchestrator.step.timing import Watch
from orchestrator.step.untracked import Overlaid

if TYPE_CHECKING:
    from orchestrator.step.protocol import StepProtocol

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
class Attempt:
    """One attempt at a claimed step."""

    protocol: StepProtocol
    claim: Claim
    blobs: Mapping[str, Encoded]
    made: Checkpoint | None = None  # What planned the step, if this process has just made it.
    step: ReadyStep = field(init=False)
    node: NodeSpec = field(init=False)
    began_ms: float = field(init=False)  # By the monotonic clock of this process.
    head: Head = field(init=False)
    planned: PlannedStep = field(init=False)
    frame: Frame = field(init=False)
    notes: dict[str, bytes] = field(init=False)
    input: Any = field(init=False)  # What came for a subgraph that one of its nodes had paused.
    origin: str = field(init=False)  # The id under which the step was first planned.
    scope: Scope = field(init=False)
    host: StepHost = field(init=False)
    policy: TimeoutPolicy | None = field(init=False)
    watch: Watch | None = field(init=False)
    posed: Sequence[Interrupt] = field(init=False)  # What the node itself asked, in this order.
    _given: Mapping[str, Any] | None = field(init=False)

    def __post_init__(self) -> None:
        """Decode what the claim brought."""
        assert self.claim.step is not None
        assert self.claim.head is not None
        self.step, self.head = self.claim.step, self.claim.head
        head = self.head
        records, self.node = self.protocol.records, self.protocol.spec.nodes[self.step.node]
        for blob in self.claim.blobs.values():
            check_damage(blob)  # Also what this node does not look at: soon it would be history.
        check_damage(head.config)
        checkpoint = self.made or records.checkpoint(self.claim.header)
        values = records.values(checkpoint, self.blobs)
        seen: Mapping[str, Any] = values
        if self.protocol.spec.untracked:
            own = self.protocol.live.untracked.values(self.step.thread_id)
            seen = Overlaid(values, own) if own else values
        self.frame = Frame(checkpoint, seen, head.stop, changes=values.changes)
        self.planned = self.step.planned
        self._given = None
        self.host = StepHost(self)
        answers: Mapping[str, Any] = {}
        if self.claim.answers:
            answers = {i: records.decode(data) for i, data in self.claim.answers.items()}
        carried = carried_in(checkpoint, self.planned, self.step.step_id)
        self.origin = carried.origin
        if self.protocol.live.answers is not None:
            answers = {**self.protocol.live.answers, **answers}
            place = (self.step.number, self.step.node, self.step.index)
            self.origin = short_hash(self.step.thread_id, *place)
        self.notes = {**carried.notes, **self.claim.notes}
        self.input = carried.given
        seed = short_hash(self.step.thread_id, self.origin)
        own_limit = timeout_of(checkpoint, self.planned) if self.step.index >= 0 else None
        self.policy = own_limit or self.node.options.timeout
        scratchpad = Scratchpad(seed, {**carried.answers, **answers}, fit=fit)
        self.posed, self.scope = scratchpad.asked, self._scope(scratchpad)
        self.begin(self.claim)

    def expected(self, claim: Claim) -> bool:
        """Return whether the attempt is what it would be under another claim on the same step."""
        mine, theirs = self.claim, claim
        assert mine.head is not None
        assert theirs.head is not None
        return (
            theirs.step == mine.step
            and theirs.header == mine.header
            and (theirs.head.config, theirs.head.stop) == (mine.head.config, mine.head.stop)
            and not (theirs.blobs or theirs.answers or theirs.notes)
        )

    def begin(self, claim: Claim) -> None:
        """Begin under a claim: from now on it takes time."""
        assert claim.head is not None
        self.claim, self.head = claim, claim.head
        self.began_ms = self.protocol.access.clock.monotonic_ms()
        self.watch = Watch(self.policy) if self.policy else None

    @property
    def given(self) -> Mapping[str, Any]:
        """Return what the run was started with; decoded at the first call.

        Callers that need an option which few runs have search `head.config` for its name first.
        """
        if self._given is None:
            self._given = self.protocol.records.decode(self.head.config)
        return self._given

    @property
    def asked(self) -> list[Interrupt]:
        """Return what the step asked: its node, then the subgraphs and tasks that it ran."""
        own, records = list(self.posed), self.protocol.records
        if not self.claim.asks:
            return own
        known = {question.id for question in own}
        below = (data for i, data in self.claim.asks.items() if data and i not in known)
        return [*own, *map(records.interrupt, below)]

    @property
    def key(self) -> str:
        """Return what names the step in all of its attempts, among all steps of all threads."""
        return short_hash(self.step.thread_id, self.origin)

    @property
    def taken_in(self) -> StoredCheckpoint:
        """Return the checkpoint of the input, of a step that takes it in; its plan is not known."""
        step, claim = self.step, self.claim
        id_, refs = step.checkpoint_id, claim.refs
        return StoredCheckpoint(id=id_, ns=step.ns, header=claim.header, plan=b"", refs=refs)

    def _scope(self, scratchpad: Scratchpad) -> Scope:
        context = self.protocol.live.context
        if context is None and b"context" in self.head.config:
            context = context_for(self.protocol.spec.context_schema, self.given.get("context"))
        return Scope(
            scratchpad=scratchpad,
            make_config=partial(config_for, self),
            make_runtime=partial(self._runtime, context),
            host=self.host,
        )

    def _runtime(self, context: Any) -> Runtime[Any]:
        live, previous = self.protocol.live, self.frame.values.get(PREVIOUS)
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

    # ---- telling ------------------------------------------------------------------------------

    def tell(self, kind: type[Fact], **fields: Any) -> None:
        """Tell a fact to whoever listens; it shows progress, too."""
        if self.watch:
            self.watch.progress()
        self.protocol.tell(kind, self.step.thread_id, **fields)

    def write(self, data: Any, mode: str = "custom") -> None:
        """Write to the stream: to who listens here, or to the thread's log for who reads it."""
        if self.watch:
            self.watch.progress()
        if self.protocol.live.listener is not None:
            self.protocol.tell(Written, self.step.thread_id, mode=mode, data=data)
        elif self.step.queue or self.protocol.live.logs:
            self.protocol.log(self.step, mode, data)

    # ---- running ------------------------------------------------------------------------------

    def run(self) -> Result:
        """Run the node and its routers; return what the step writes.

        Raises:
            GraphInterrupt: if it asks something.
            ParentCommand: if it steers the graph around this one.
            BaseException: whatever else user code raises.
        """
        close = open_scope(self.scope)
        try:
            return self._run()
        finally:
            close()

    def _run(self) -> Result:
        node, spec = self.node, self.protocol.spec
        seen = input_of(spec, self.frame, self.planned, self._argument() if self.step.arg else None)
        if FAILED in self.notes:  # An earlier attempt had come as far as the handler.
            return self._handled(node, seen, self._failure())
        cached = None
        if node.options.cache is not None:
            cached = Cached.of_node(self.protocol, node, seen, self.step.graph)
        found = cached.get() if cached else None
        if found is not None:
            writes = self.protocol.records.outcome(found.value).writes
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
            cached.put(self.protocol.stored(run.unnamed(writes)))
        return Result(writes)

    def _argument(self) -> Any:
        """Return what the step was sent."""
        arg = self.protocol.records.decode(whole(self.blobs[self.step.arg]))
        if not self.protocol.spec.untracked:
            return arg
        return self.protocol.live.untracked.argument(self.step.thread_id, self.step.step_id, arg)

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
        except ParentCommand as steering:
            if steering.command.graph is not None:
                raise
            return steering.command  # Of a subgraph that the node called: it is for this graph.

    def _hooked(self, given: Any) -> Any:
        """Return an input, or the update of the hook that is called when a run goes on."""
        spec, reason = self.protocol.spec, reason_in(self.frame.checkpoint)
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
            node=self.protocol.spec.shown(self.step.node),
            step_id=self.step.step_id,
            number=self.step.number,
            attempt=self.claim.attempt,
            worker=self.protocol.access.owner,
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
        self.host.note(FAILED, self.protocol.records.store_error(record))
        close = open_scope(self.scope)
        try:
            arg = self._argument() if self.step.arg else None
            seen = input_of(self.protocol.spec, self.frame, self.planned, arg)
            return self._handled(node, seen, error)
        finally:
            close()

    def _failure(self) -> Exception:
        """Return what the node raised in an earlier attempt, as far as it is known."""
        record = self.protocol.records.error(self.notes[FAILED])
        assert record is not None
        return StepFailedError(f"{record.type}: {record.message}", asdict(record))

    def _handled(self, node: NodeSpec, seen: Any, error: Exception) -> Result:
        handler = node.options.handler
        assert handler is not None
        told = NodeError(node.name, error)
        self._leave_node()
        close = open_scope(self.scope)
        try:
            with bridge.node_run(self, seen) as run:
                extras = self.extras(told)
                given = {name: extras[name] for name in handler.injected}
                run.result = self._tried(handler, lambda: finish(handler.action(seen, **given)))
                # As in LangGraph, nothing follows but where the handler leads.
                alone = replace(node, writes=(), branches=(), subgraph=None)
                spec = self.protocol.spec
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
                self.protocol.access.clock.sleep(delay_s)

    def now_ms(self) -> int:
        """Return the store's time, reckoned from the claim."""
        passed_ms = self.protocol.access.clock.monotonic_ms() - self.began_ms
        return self.claim.now_ms + int(passed_ms)

    @property
    def began_s(self) -> float:
        """Return when the first attempt began, in seconds since the epoch, by the store's clock."""
        first = self.notes.get(self.began_note) if self.claim.failures else None
        if first is not None:
            return float(first)
        return self.claim.now_ms / 1000 if self.claim.now_ms else time.time()

    @property
    def began_note(self) -> str:
        """Return the note under which the time of the first attempt is kept for retries."""
        return f"began:{self.head.resumes}"  # A resumed run counts attempts anew.


_EXTRAS: Mapping[str, Callable[[Attempt], Any]] = {
    "config": lambda attempt: attempt.scope.config,
    "previous": lambda attempt: attempt.scope.runtime.previous,
    "runtime": lambda attempt: attempt.scope.runtime,
    "store": lambda attempt: attempt.scope.runtime.store,
    "writer": lambda attempt: attempt.scope.runtime.stream_writer,
    "ctx": Attempt.context,
}
