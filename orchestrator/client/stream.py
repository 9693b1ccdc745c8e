"""The stream of a call: it runs one superstep at a time, as fast as its reader reads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from contextvars import copy_context
from typing import Any

from orchestrator import limits
from orchestrator.channels import MISSING
from orchestrator.client.graph_base import GraphBase
from orchestrator.client.invocation import Invocation
from orchestrator.client.log_reader import Follower, Known, check_kept, first_fact
from orchestrator.client.options import StreamMode, modes_of
from orchestrator.client.projection import Part, Projection, Unseen
from orchestrator.client.results import INTERRUPT, outcome_of, without_questions
from orchestrator.client.snapshot import live_values
from orchestrator.dispatch.local import InProcess, LocalRun
from orchestrator.engine.records import Records
from orchestrator.errors import StreamGapError
from orchestrator.graph.routing import Command, own
from orchestrator.graph.scope import current_scope
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import root_thread
from orchestrator.model.checkpoint import RunStatus
from orchestrator.step.async_loop import Cancelled, check_cancelled, elsewhere
from orchestrator.step.facts import Fact, Missed


class Shape:
    """How parts are given to a reader: by the options of the call."""

    def __init__(self, call: Invocation) -> None:
        """Read the options."""
        options, graph = call.options, call.graph
        given = options.get("stream_mode")
        given = _default_mode(call) if given is None else given
        self.modes = modes_of(given, graph.stream_mode)
        self._one = isinstance(given, str)
        self._spaces = bool(options.get("subgraphs"))
        self._v2 = options.get("version") == "v2"
        self._printed = prints(call)
        keys = options.get("output_keys")
        self._as_output = graph.spec.as_output
        self.projection = Projection(
            spec=graph.spec,
            modes=frozenset(self.modes) | frozenset(self._printed),
            output_keys=call.output_keys,
            one_key=isinstance(keys, str),
            keeps=call.keeps,
            typed=self._v2,
            configurable=call.parsed.configurable,
            metadata=call.parsed.of_steps,
        )
        self.unseen = Unseen(self.projection, self._spaces)

    def of(self, fact: Fact) -> Iterator[Any]:
        """Return what the reader gets for a fact."""
        for part in self.unseen.parts(fact):
            yield from self.shaped(part)

    def shaped(self, part: Part) -> Iterator[Any]:
        """Return a part in the form that the reader asked for, if at all."""
        space, mode, data = part
        if space and not self._spaces:
            return
        if mode in self._printed:
            print(f"[{mode}] {data}")  # noqa: T201 - asked for by print_mode
        if mode not in self.modes:
            return
        if self._v2:
            yield self._as_v2(space, mode, data)
        elif self._one:
            yield (space, data) if self._spaces else data
        else:
            yield (space, mode, data) if self._spaces else (mode, data)

    def _as_v2(self, space: tuple[str, ...], mode: str, data: Any) -> dict[str, Any]:
        part: dict[str, Any] = {"type": mode, "ns": space, "data": data}
        if mode == "values":
            part["interrupts"] = ()
            if isinstance(data, dict) and INTERRUPT in data:
                part["interrupts"] = tuple(data[INTERRUPT])
                part["data"] = {key: value for key, value in data.items() if key != INTERRUPT}
            if not space:
                part["data"] = self._as_output(part["data"])
        return part


def _default_mode(call: Invocation) -> StreamMode | Sequence[StreamMode]:
    """Return what is streamed where the call does not say it: as LangGraph, values in a node."""
    in_node = "langgraph_node" in call.parsed.metadata  # It was given the config of a node.
    return "values" if in_node else call.graph.stream_mode


def prints(call: Invocation) -> tuple[str, ...]:
    """Return the modes that a call prints."""
    debug = call.options.get("debug")
    if call.graph.debug if debug is None else debug:
        return ("updates", "values")
    modes = call.options.get("print_mode") or ()
    return modes_of(modes, ()) if modes else ()


def printed(call: Invocation, value: Any) -> Any:
    """Run, print what the call asks for, and return the output."""
    for _ in stream_parts(call, value):
        pass
    return call.output(None)


def stream_parts(call: Invocation, value: Any) -> Iterator[Any]:
    """Run, and give what happens in the form the options ask for; see `stream`."""
    shape = Shape(call)
    call.wants_messages = "messages" in shape.projection.modes
    if current_scope.get() is not None and call.is_child:
        yield from _child_parts(call, value, shape)
        return
    with call.traced(value):
        if isinstance(call.graph.executor, InProcess):
            with call.kept():
                yield from _parts(call, value, shape)
        else:
            yield from _fleet_parts(call, value, shape)


def _parts(call: Invocation, value: Any, shape: Shape) -> Iterator[Any]:
    """Run in this process, a superstep at a time."""
    heard: queue.SimpleQueue[Fact | None] = queue.SimpleQueue()
    call.listener = heard.put
    ready = call.begin(value)
    yield from shape.of(_start(call))
    error: BaseException | None = None
    if ready is not None:
        run = call.local(ready)
        with run.alive():
            yield from _rounds(run, heard, shape)
        run.check_drained()
        error = run.error
    yield from _rest(call, shape)
    _raise_failure(call, error)


def _fleet_parts(call: Invocation, value: Any, shape: Shape) -> Iterator[Any]:
    """Let a fleet run, and read what happens from the thread's log."""
    graph, store = call.graph, call.store
    before = store.load(call.thread_id, values=False)
    value = own(value)
    continues = value is None or (isinstance(value, Command) and value.resume is not MISSING)
    if call.wants_messages and before is not None and continues:
        check_kept(store, call.thread_id, before, before.seq)
    ready = call.begin(value)
    graph.executor.send(ready or ())
    seq = before.seq if before else 0
    of = "" if call.resumes else call.run_id
    follower = Follower(store, call.thread_id, known_by(graph), seq, of)
    is_over = ready is None
    with elsewhere():
        while not is_over:
            check_cancelled()
            for _, fact in follower.facts():
                is_over = is_over or fact is None
                if isinstance(fact, Missed):
                    raise StreamGapError(call.thread_id, fact.first, fact.last, fact.reason)
                if fact is not None:
                    yield from shape.of(fact)
    _raise_failure(call, None)


def _rounds(run: LocalRun, heard: queue.SimpleQueue[Fact | None], shape: Shape) -> Iterator[Any]:
    """Do one round after the other, each in an OS thread, and give what is heard meanwhile.

    Raises:
        Cancelled: if the call was cancelled, also while a round waits for synchronous code.
    """

    def wake() -> None:
        heard.put(None)

    with run.scope.reporting(wake) if run.scope is not None else nullcontext():
        while run.todo:
            yield from _round(run, heard, shape)


def _round(run: LocalRun, heard: queue.SimpleQueue[Fact | None], shape: Shape) -> Iterator[Any]:
    failures: list[BaseException] = []

    def round_() -> None:
        try:
            run.round()
        except BaseException as error:  # noqa: BLE001 - it is raised in the reader's thread
            failures.append(error)
        finally:
            heard.put(None)

    thread = threading.Thread(
        target=copy_context().run, args=(round_,), name="graphstalk-stream", daemon=True
    )
    thread.start()
    try:
        while (fact := heard.get()) is not None:
            yield from shape.of(fact)
    finally:
        # A reader that stops lets the superstep end; a call that is cancelled does not.
        thread.join(limits.CANCEL_GRACE_S if run.is_cancelled else None)
    if run.is_cancelled:
        raise Cancelled
    if failures:
        raise failures[0]


def _start(call: Invocation) -> Fact:
    """Return the fact with which the stream begins."""
    loaded = call.store.load(call.thread_id)
    assert loaded is not None
    records = call.graph.records
    spec = call.graph.spec
    return first_fact(call.thread_id, loaded, records, spec, resumes=call.resumes)


def _rest(call: Invocation, shape: Shape) -> Iterator[Any]:
    """Give the values once more, if the run pauses with some steps of a superstep done."""
    loaded = call.store.load(call.thread_id)
    if loaded is None or loaded.head.status is not RunStatus.PAUSED or not loaded.outcomes:
        return
    graph = call.graph
    records = graph.records
    checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    values = live_values(checkpoint, loaded, records, graph.spec)
    keys = call.output_keys or graph.spec.visible_keys
    wrote = {key for data in loaded.outcomes.values() for key, _ in records.outcome(data).writes}
    if "values" in shape.projection.modes and wrote.intersection(keys):
        yield from shape.shaped(((), "values", shape.projection.values(graph.spec, values)))


def _raise_failure(call: Invocation, error: BaseException | None) -> None:
    """Raise the error of the run, if it failed; record its output for handlers."""
    loaded = call.left_thread()
    call.report_paused(loaded)
    graph = call.graph
    failed = loaded.head.status in {RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.PAUSED}
    if failed or call.trace.has_handlers:
        keys, name = call.output_keys, call.parsed.thread_id or call.thread_id
        found = outcome_of(name, loaded, graph.records, graph.spec, error, keys)
        found = without_questions(found)
        one_key = isinstance(call.options.get("output_keys"), str)
        call.trace.output = found.get(keys[0]) if one_key and isinstance(found, dict) else found


def known_by(graph: GraphBase, *, shows: bool = False) -> Known:
    """Return how a reader of a thread's log finds the graphs of it.

    Args:
        graph: the outermost graph.
        shows: whether a value of a type that is not known here is shown, rather than an error.
    """

    def known(ns: str, fingerprint: str) -> tuple[GraphSpec | None, Records]:
        found = graph.graph_of(ns, fingerprint)
        if found is None:
            return None, graph.showing if shows else graph.records
        return found.spec, found.showing if shows else found.records

    return known


def _child_parts(call: Invocation, value: Any, shape: Shape) -> Iterator[Any]:
    """Run a subgraph inside a node; give its parts when it has ended."""
    scope = current_scope.get()
    assert scope is not None
    heard: list[Fact] = []
    below: Callable[[Fact], None] = heard.append
    how = {
        "listener": below,
        "messages": call.wants_messages,
        "config": call.parsed,
    }
    scope.host.run_child(call.graph, value, how)
    base = root_thread(heard[0].thread_id)[1] if heard else ""
    for fact in heard:
        for space, mode, data in shape.unseen.parts(fact, base):
            yield from shape.shaped((_below(space, base), mode, data))


def _below(space: tuple[str, ...], base: str) -> tuple[str, ...]:
    """Return a namespace as seen from inside another one."""
    depth = len(base.split("|")) if base else 0
    return space[depth:]
