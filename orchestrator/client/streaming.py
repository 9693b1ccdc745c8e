"""Streams of a run in this process: it goes on while somebody reads, one superstep at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from orchestrator import limits
from orchestrator.channels import MISSING
from orchestrator.client import callbacks
from orchestrator.client.beginning import first_fact
from orchestrator.client.following import Follower, Known, check_kept
from orchestrator.client.options import StreamMode, modes_of
from orchestrator.client.projecting import INTERRUPT, Part, Projection
from orchestrator.client.results import outcome_of, without_questions
from orchestrator.client.running import Running
from orchestrator.client.snapshot import live_values
from orchestrator.client.unseen import Unseen
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

if TYPE_CHECKING:
    from orchestrator.client.compiled import CompiledStateGraph

__all__ = ["Shape", "known_by", "printed", "prints", "stream_parts"]


class Shape:
    """How parts are given to a reader: by the options of the call."""

    def __init__(self, running: Running) -> None:
        """Read the options."""
        options, graph = running.options, running.graph
        given = options.get("stream_mode")
        given = _default_mode(running) if given is None else given
        self.modes = modes_of(given, graph.stream_mode)
        self._one = isinstance(given, str)
        self._spaces = bool(options.get("subgraphs"))
        self._v2 = options.get("version") == "v2"
        self._printed = prints(running)
        keys = options.get("output_keys")
        self._as_output = graph.spec.as_output
        self.projection = Projection(
            spec=graph.spec,
            modes=frozenset(self.modes) | frozenset(self._printed),
            output_keys=running.output_keys,
            one_key=isinstance(keys, str),
            keeps=running.keeps,
            typed=self._v2,
            configurable=running.parsed.configurable,
            metadata=running.parsed.of_steps,
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


def _default_mode(running: Running) -> StreamMode | Sequence[StreamMode]:
    """Return what is streamed where the call does not say it: as LangGraph, values in a node."""
    in_node = "langgraph_node" in running.parsed.metadata  # It was given the config of a node.
    return "values" if in_node else running.graph.stream_mode


def prints(running: Running) -> tuple[str, ...]:
    """Return the modes that a call prints."""
    debug = running.options.get("debug")
    if running.graph.debug if debug is None else debug:
        return ("updates", "values")
    modes = running.options.get("print_mode") or ()
    return modes_of(modes, ()) if modes else ()


def printed(running: Running, value: Any) -> Any:
    """Run, print what the call asks for, and return the output."""
    for _ in stream_parts(running, value):
        pass
    return running.output(None)


def stream_parts(running: Running, value: Any) -> Iterator[Any]:
    """Run, and give what happens in the form the options ask for; see `stream`."""
    shape = Shape(running)
    running.wants_messages = "messages" in shape.projection.modes
    if current_scope.get() is not None and running.is_child:
        yield from _child_parts(running, value, shape)
        return
    with running.told(value):
        if isinstance(running.graph.executor, InProcess):
            with running.kept():
                yield from _parts(running, value, shape)
        else:
            yield from _fleet_parts(running, value, shape)


def _parts(running: Running, value: Any, shape: Shape) -> Iterator[Any]:
    """Run in this process, a superstep at a time."""
    heard: queue.SimpleQueue[Fact | None] = queue.SimpleQueue()
    running.listener = heard.put
    ready = running.begin(value)
    yield from shape.of(_start(running))
    error: BaseException | None = None
    if ready is not None:
        run = running.local(ready)
        with run.alive():
            yield from _rounds(run, heard, shape)
        run.check_drained()
        error = run.error
    yield from _rest(running, shape)
    _raise_failure(running, error)


def _fleet_parts(running: Running, value: Any, shape: Shape) -> Iterator[Any]:
    """Let a fleet run, and read what happens from the thread's log."""
    graph, store = running.graph, running.store
    before = store.load(running.thread_id, values=False)
    value = own(value)
    goes_on = value is None or (isinstance(value, Command) and value.resume is not MISSING)
    if running.wants_messages and before is not None and goes_on:
        check_kept(store, running.thread_id, before, before.seq)
    ready = running.begin(value)
    graph.executor.send(ready or ())
    seq = before.seq if before else 0
    of = "" if running.resumes else running.run_id
    follower = Follower(store, running.thread_id, known_by(graph), seq, of)
    rests = ready is None
    with elsewhere():
        while not rests:
            check_cancelled()
            for _, fact in follower.facts():
                rests = rests or fact is None
                if isinstance(fact, Missed):
                    raise StreamGapError(running.thread_id, fact.first, fact.last, fact.reason)
                if fact is not None:
                    yield from shape.of(fact)
    _raise_failure(running, None)


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


def _start(running: Running) -> Fact:
    """Return what the stream begins with; tell handlers if the run goes on."""
    loaded = running.store.load(running.thread_id)
    assert loaded is not None
    records = running.graph.records
    spec = running.graph.spec
    return first_fact(running.thread_id, loaded, records, spec, resumes=running.resumes)


def _rest(running: Running, shape: Shape) -> Iterator[Any]:
    """Give the values once more, if the run pauses with some steps of a superstep done."""
    loaded = running.store.load(running.thread_id)
    if loaded is None or loaded.head.status is not RunStatus.PAUSED or not loaded.outcomes:
        return
    graph = running.graph
    records = graph.records
    checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    values = live_values(checkpoint, loaded, records, graph.spec)
    keys = running.output_keys or graph.spec.visible_keys
    wrote = {key for data in loaded.outcomes.values() for key, _ in records.outcome(data).writes}
    if "values" in shape.projection.modes and wrote.intersection(keys):
        yield from shape.shaped(((), "values", shape.projection.values(graph.spec, values)))


def _raise_failure(running: Running, error: BaseException | None) -> None:
    """Raise what became of the run, if it is no output."""
    loaded = running.rested()
    callbacks.report_rest(running, loaded)
    graph = running.graph
    failed = loaded.head.status in {RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.PAUSED}
    if failed or running.trace.has_handlers:
        keys, name = running.output_keys, running.parsed.thread_id or running.thread_id
        found = outcome_of(name, loaded, graph.records, graph.spec, error, keys)
        found = without_questions(found)
        one_key = isinstance(running.options.get("output_keys"), str)
        running.trace.output = found.get(keys[0]) if one_key and isinstance(found, dict) else found


def known_by(graph: CompiledStateGraph, *, shows: bool = False) -> Known:
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


def _child_parts(running: Running, value: Any, shape: Shape) -> Iterator[Any]:
    """Run a subgraph inside a node; give its parts when it has ended."""
    scope = current_scope.get()
    assert scope is not None
    heard: list[Fact] = []
    below: Callable[[Fact], None] = heard.append
    how = {
        "listener": below,
        "messages": running.wants_messages,
        "config": running.parsed,
    }
    scope.host.run_child(running.graph, value, how)
    base = root_thread(heard[0].thread_id)[1] if heard else ""
    for fact in heard:
        for space, mode, data in shape.unseen.parts(fact, base):
            yield from shape.shaped((_below(space, base), mode, data))


def _below(space: tuple[str, ...], base: str) -> tuple[str, ...]:
    """Return a namespace as seen from inside another one."""
    depth = len(base.split("|")) if base else 0
    return space[depth:]
