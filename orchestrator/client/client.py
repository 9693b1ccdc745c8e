"""The client of a deployment: enqueue runs, read them, answer them, end them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, Unpack

from orchestrator import limits
from orchestrator.checkpointer.fleet import SharedCheckpointer, Worker, settings_of
from orchestrator.client.aio import in_thread
from orchestrator.client.diagnosis import Inquiry, Trouble, check_threads
from orchestrator.client.graph import CompiledStateGraph
from orchestrator.client.log_reader import (
    Follower,
    Known,
    StreamPart,
    check_kept,
    event_of,
    parts_of_log,
)
from orchestrator.client.options import (
    OptionError,
    SubmitOptions,
    checked_submit,
    modes_of,
    parse_config,
)
from orchestrator.client.projection import Projection, Unseen
from orchestrator.client.results import INTERRUPT, Until, outcome_of, reached
from orchestrator.client.snapshot import StateSnapshot, snapshot
from orchestrator.client.stream import known_by
from orchestrator.client.thread_calls import Calls, checked_input, checked_submitted, run_config
from orchestrator.config import Settings
from orchestrator.dispatch.await_run import left_by, run_of, wait_for_rest, wait_until
from orchestrator.dispatch.broker import (
    Dispatch,
    disconnect,
    dispatcher,
    open_store,
    warn_if_unread,
)
from orchestrator.engine.explain import Explanation
from orchestrator.engine.questions import open_questions
from orchestrator.engine.records import Records
from orchestrator.engine.resume import missing
from orchestrator.errors import GraphPausedError, RunNotFinishedError, UnknownGraphError
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import ThreadId, check_key, check_thread_id, new_uuid, short_hash
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Event, LoadedThread, ReadyStep
from orchestrator.serde.codec import UNKNOWN_TYPED, Codec
from orchestrator.step.context import context_for
from orchestrator.step.next_run import CARRYING


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadInfo:
    """A thread in a list."""

    thread_id: str
    graph: str
    status: RunStatus
    run_id: str
    resumes: int
    created_ms: int
    updated_ms: int


class Client:
    """Calls on the threads of a deployment. It needs no graphs, and no workers to be alive."""

    def __init__(
        self,
        url: str | None = None,
        *,
        graphs: Mapping[str, CompiledStateGraph] | None = None,
        settings: Settings | None = None,
        checkpointer: SharedCheckpointer | None = None,
    ) -> None:
        """Use the deployment at `url`, by default that of the environment (`REDIS_URL`).

        Args:
            url: the Redis that holds the checkpoints.
            graphs: graphs by name, if this process has them: inputs are then checked against them
                here, and their types decoded. A value of a type that this process does not know is
                shown as an `UnknownValue`.
            settings: all settings, instead of those of the environment.
            checkpointer: the store of the deployment, opened by the caller, who closes it.

        Raises:
            NotSupportedError: if no workers share that checkpointer.
        """
        self.settings = settings_of(checkpointer, settings, url)
        self._given = checkpointer
        self._graphs: Mapping[str, CompiledStateGraph] = {} if graphs is None else graphs
        self._reader = checkpointer or open_store(self.settings, sends=False)
        self._writer: SharedCheckpointer | None = None
        self._dispatch: Dispatch | None = None  # Where another server is the broker.
        codec = Codec()
        self._plain = Records(codec.encode, partial(codec.decode, placeholders=UNKNOWN_TYPED))

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give back connections."""
        self.close()

    # ---- runs ---------------------------------------------------------------------------

    def submit(
        self,
        graph: str | CompiledStateGraph,
        input: Any,  # noqa: A002 - LangGraph's name
        *,
        thread_id: ThreadId | None = None,
        key: str | None = None,
        config: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> RunHandle:
        """Enqueue a run and return at once. When this returns, the run is stored. (INV-1)

        Args:
            graph: the graph's name, or the graph itself.
            input: an update of the state.
            thread_id: the thread to run on, which the config may name, too; a new one if absent.
            key: makes the call repeatable: the same key on the same thread (or without one) is the
                same run.
            config: `recursion_limit`, `resumes_max`, `metadata`, `configurable`.
            **options: see `SubmitOptions`: `context`, `multitask_strategy`, `queue` and others.

        Raises:
            UnknownGraphError: if neither this process nor any worker has known the graph.
            InvalidUpdateError: if the input is no update, for a graph that this process has.
            ConfigError: if the config has what only a call that waits can use.
            OptionError: if an option does not exist, or cannot have its value.
            ThreadBusyError: if the thread's run is active, and the strategy is `"reject"`.
            UnserializableValueError: if the input or the context cannot be stored.
            StateCorruptedError: if the thread is damaged, and nothing of it is whole.
            CheckpointerUnavailableError: if the server does not answer.
        """
        chosen = checked_submit(options)
        name, spec, records = self._graph(graph)
        parsed = checked_submitted(config, thread_id)
        thread_id = parsed.thread_id
        if thread_id is None:
            thread_id = short_hash("key", name, check_key(key)) if key is not None else new_uuid()
        context = chosen.get("context")
        if spec is not None:
            context_for(spec.context_schema, context)  # What does not fit must not be stored.
        run = replace(
            run_config(parsed, chosen, spec),
            fingerprint=spec.fingerprint if spec else self._fingerprint(name),
            key=check_key(key) if key is not None else None,
            context=context,
            messages="messages" in modes_of(chosen.get("stream_mode"), ()),
            queue=chosen.get("queue") or "",
        )
        calls = Calls(self._sending(), records, self._queue(name, spec))
        run_id, ready = calls.accept(thread_id, name, checked_input(spec, input), run)
        self._send(ready)
        return RunHandle(self, thread_id, run_id)

    def resume(
        self, thread_id: ThreadId, value: Any = None, *, interrupt_id: str | None = None
    ) -> RunHandle:
        """Answer what a thread asks; the answer is stored when this returns. (INV-8)

        Args:
            thread_id: the thread.
            value: the answer, or a mapping from interrupt id to answer. Any storable value is one.
            interrupt_id: which question is answered, if several are open: its id, or its key.

        Raises:
            UnknownThreadError: if there is no such thread.
            NoPendingInterruptError: if it asks nothing, or was answered already.
        """
        thread_id = check_thread_id(thread_id)
        ready = self._calls(thread_id).answer(thread_id, value, interrupt_id)
        self._send(ready)
        return self.handle(thread_id)

    def carry_on(self, thread_id: ThreadId) -> RunHandle:
        """Continue a run that failed, was paused or cancelled; only what has not completed runs.

        Raises:
            EmptyInputError: if there is no such thread.
            ThreadBusyError: if its run is active.
        """
        thread_id = check_thread_id(thread_id)
        self._send(self._calls().carry_on(thread_id) or ())
        return self.handle(thread_id)

    def cancel(self, thread_id: ThreadId, run_id: str = "") -> bool:
        """End a run of the thread; return whether there was one to end.

        Args:
            thread_id: the thread.
            run_id: the run, which may also wait in line; empty: the one that is there.

        Raises:
            UnknownThreadError: if there is no such thread.
        """
        calls = self._calls()
        thread_id = check_thread_id(thread_id)
        ended = calls.cancel(thread_id, run_id)
        self._send(calls.begin_next(thread_id))
        return ended

    def delete(self, thread_id: ThreadId, *, cancel: bool = False) -> None:
        """Delete a thread with its subgraphs, values, log and all else that speaks of it.

        What a worker still does for it is refused when it commits. A fork of it stays whole.

        Args:
            thread_id: the thread.
            cancel: whether to cancel its run first, and those in line.

        Raises:
            UnknownThreadError: if there is no such thread.
            ThreadBusyError: if it has a run that has not ended, and `cancel` is not set.
        """
        self._calls().delete(check_thread_id(thread_id), cancel=cancel)

    def handle(self, thread_id: ThreadId) -> RunHandle:
        """Return the handle of the thread's current run.

        Raises:
            UnknownThreadError: if there is no such thread.
        """
        thread_id = check_thread_id(thread_id)
        return RunHandle(self, thread_id, self._load(thread_id, values=False).head.run_id)

    def result(
        self, thread_id: ThreadId, timeout_s: float | None = None, *, run_id: str = ""
    ) -> Any:
        """Wait until the thread's run ended or paused; return its output, as `RunHandle.result`."""
        thread_id = check_thread_id(thread_id)
        there = wait_for_rest(self._reader, thread_id, timeout_s, run_id)
        loaded = left_by(self._reader, thread_id, there, run_id)
        spec, records = self._known(loaded)
        return outcome_of(thread_id, loaded, records, spec)

    def wait(
        self,
        thread_id: ThreadId,
        until: Until = None,
        timeout_s: float | None = None,
        *,
        run_id: str = "",
    ) -> StateSnapshot:
        """Wait until the thread's run has come so far; see `RunHandle.wait`."""
        thread_id = check_thread_id(thread_id)
        is_reached = reached(until)

        def seen(loaded: LoadedThread) -> StateSnapshot:
            spec, records = self._known(loaded)
            return snapshot(thread_id, loaded, records, spec, latest=True)

        there = lambda loaded: is_reached(loaded.head.status, lambda: seen(loaded))  # noqa: E731
        return seen(wait_until(self._reader, thread_id, run_id, there, timeout_s))

    def stream(
        self,
        thread_id: ThreadId,
        from_seq: int = 0,
        *,
        stream_mode: str | Sequence[str] = "updates",
        subgraphs: bool = False,
        timeout_s: float | None = None,
    ) -> Iterator[StreamPart]:
        """Read the stream of a thread until its run ends or pauses; see `RunHandle.stream`.

        Raises:
            UnknownThreadError: if there is no such thread.
            OptionError: if `from_seq` is no cursor of the thread, or a mode does not exist; for
                `"messages"`, if the run was not started with it.
            RunNotFinishedError: if it does not end or pause in time.
        """
        event, _ = event_of(from_seq)
        thread_id = check_thread_id(thread_id)
        loaded = self._load(thread_id, values=False)
        if event > loaded.seq:
            msg = (
                f"from_seq must be the seq of a part of this thread (from_seq={from_seq}), but the "
                f"log of {thread_id!r} ends before it. Use 0 to read from the beginning"
            )
            raise OptionError(msg)
        _, plain = self._known(loaded)
        graph = self._graphs.get(loaded.head.graph)
        modes = frozenset(modes_of(stream_mode, "updates"))
        if "messages" in modes:
            check_kept(self._reader, thread_id, loaded, event)
        unseen = Unseen(Projection(spec=graph.spec if graph else None, modes=modes), subgraphs)
        known: Known = known_by(graph, shows=True) if graph else lambda *_: (None, plain)
        follower = Follower(self._reader, thread_id, known)
        end = None if timeout_s is None else time.monotonic() + timeout_s
        is_over = partial(self._is_over, thread_id)
        for part in parts_of_log(follower, unseen, from_seq, subgraphs=subgraphs, is_over=is_over):
            if part is not None:
                yield part
            elif end is not None and time.monotonic() > end and not is_over(follower.seq):
                msg = f"the run of thread {thread_id!r} neither ended nor paused in {timeout_s} s"
                raise RunNotFinishedError(msg)

    def _is_over(self, thread_id: ThreadId, seq: int) -> bool:
        """Return whether no run is active, and the whole log was read."""
        loaded = self._load(thread_id, values=False)
        moves = loaded.head.status.active or (loaded.head.status.final and bool(loaded.line))
        return not moves and loaded.seq <= seq

    # ---- reading ------------------------------------------------------------------------

    def get_state(self, thread_id: ThreadId, *, checkpoint_id: str | None = None) -> StateSnapshot:
        """Return the thread's latest snapshot, or that of a checkpoint.

        Raises:
            UnknownThreadError: if there is no such thread or checkpoint.
        """
        thread_id = check_thread_id(thread_id)
        config = {"thread_id": thread_id, "checkpoint_id": checkpoint_id}
        wanted = parse_config(config).before()
        loaded = self._load(thread_id, checkpoint_id=wanted)
        spec, records = self._known(loaded)
        return snapshot(thread_id, loaded, records, spec, latest=wanted is None)

    def history(self, thread_id: ThreadId, *, limit: int | None = None) -> Iterator[StateSnapshot]:
        """Iterate over the thread's snapshots, newest first.

        Raises:
            UnknownThreadError: if there is no such thread.
        """
        thread_id = check_thread_id(thread_id)
        loaded = self._load(thread_id, values=False)
        spec, records = self._known(loaded)
        count = limits.THREADS_PAGE_MAX if limit is None else limit
        for checkpoint_id in self._reader.history(thread_id, limit=count):
            one = self._reader.load(thread_id, checkpoint_id=checkpoint_id)
            if one is not None:
                yield snapshot(thread_id, one, records, spec, latest=False)

    def threads(self, *, status: str | None = None, limit: int = 100) -> list[ThreadInfo]:
        """Return threads, the latest changed first.

        Raises:
            ValueError: if `status` is none of the statuses of a run.
        """
        wanted = None if status is None else RunStatus(status)
        found = self._reader.threads(status=wanted, limit=min(limit, limits.THREADS_PAGE_MAX))
        return [
            ThreadInfo(
                thread_id=thread_id,
                graph=head.graph,
                status=head.status,
                run_id=head.run_id,
                resumes=head.resumes,
                created_ms=head.created_ms,
                updated_ms=head.updated_ms,
            )
            for thread_id, head in found
        ]

    def questions(self, thread_id: ThreadId) -> dict[str, Any]:
        """Return what the thread asks: interrupt id → question.

        Raises:
            UnknownThreadError: if there is no such thread.
        """
        loaded = self._load(thread_id, values=False)
        _, records = self._known(loaded)
        return {
            question: records.interrupt(step.asks[question]).value
            for question, step in open_questions(loaded).items()
        }

    def status(self, thread_id: ThreadId, run_id: str = "") -> RunStatus:
        """Return the status of the thread's run, or of another one; `queued` if it is in line.

        Raises:
            UnknownThreadError: if there is no such thread.
            UnknownRunError: if it has no such run, or no longer remembers it.
        """
        return self._run(thread_id, run_id, values=False).head.status

    def explain(self, thread_id: ThreadId, run_id: str = "") -> Explanation:
        """Return why the thread waits, or the place of a queued run of it.

        Raises:
            UnknownThreadError: if there is no such thread.
            StateCorruptedError: if it is damaged; `graphstalk doctor --threads` says how.
        """
        return Inquiry(self._reader, self._known).explanation(check_thread_id(thread_id), run_id)

    def events(
        self, thread_id: ThreadId, *, after: int = 0, limit: int = 1000, wait_s: float = 0
    ) -> list[Event]:
        """Return events of a thread with a greater number than `after`."""
        thread_id = check_thread_id(thread_id)
        return self._reader.events(thread_id, after=after, limit=limit, wait_s=wait_s)

    def check(self, *, limit: int = 10_000) -> Iterator[Trouble | None]:
        """Check stored threads with the graphs of this client; see `check_threads`."""
        return check_threads(self._reader, self._graphs, limit=limit)

    def workers(self) -> list[Worker]:
        """Return the workers that are alive."""
        return self._reader.fleet.workers()

    def close(self) -> None:
        """Give back the connections that this client has opened."""
        if self._given is None:
            self._reader.close()
            if self._writer is not None:
                self._writer.close()
        if self._dispatch is not None:
            disconnect(self._dispatch)

    # ---- how ----------------------------------------------------------------------------

    def _load(
        self, thread_id: ThreadId, *, checkpoint_id: int | None = None, values: bool = True
    ) -> LoadedThread:
        thread_id = check_thread_id(thread_id)
        loaded = self._reader.load(thread_id, checkpoint_id=checkpoint_id, values=values)
        if loaded is None:
            raise missing(thread_id)
        return loaded

    def _run(self, thread_id: ThreadId, run_id: str, *, values: bool = True) -> LoadedThread:
        thread_id = check_thread_id(thread_id)
        loaded = run_of(self._reader, thread_id, run_id, values=values)
        if loaded is None:
            raise missing(thread_id)
        return loaded

    def _known(self, loaded: LoadedThread) -> tuple[GraphSpec | None, Records]:
        graph = self._graphs.get(loaded.head.graph)
        return (graph.spec, graph.showing) if graph else (None, self._plain)

    def _graph(self, graph: str | CompiledStateGraph) -> tuple[str, GraphSpec | None, Records]:
        if isinstance(graph, CompiledStateGraph):
            return graph.name, graph.spec, graph.records
        known = self._graphs.get(graph)
        return (graph, known.spec, known.records) if known else (graph, None, CARRYING)

    def _fingerprint(self, name: str) -> str:
        announced = self._reader.fleet.graphs()
        if name not in announced:
            known = ", ".join(map(repr, sorted({*announced, *self._graphs}))) or "none"
            msg = (
                f"no worker has ever announced a graph {name!r}. Known: {known}. Start one with "
                f"--graphs {name}=package.module:attribute, or check the name"
            )
            raise UnknownGraphError(msg)
        return announced[name]

    def _queue(self, name: str, spec: GraphSpec | None) -> str:
        """Return where the first step of a run goes, if the run names no queue."""
        own = spec.queue if spec else self._reader.fleet.queue_of(name)
        return own or self.settings.queue

    def _calls(self, thread_id: str = "") -> Calls:
        """Return the calls on threads; those on one may bring values of its graph's types."""
        loaded = self._reader.load(thread_id, values=False) if thread_id and self._graphs else None
        graph = self._graphs.get(loaded.head.graph) if loaded else None
        records = graph.carrying if graph else CARRYING
        queue = graph.spec.queue if graph else None
        return Calls(self._sending(), records, queue or self.settings.queue)

    def _sending(self) -> SharedCheckpointer:
        """Return the store through which steps become ready; made when first needed."""
        if self._writer is None:
            self._writer = self._given or open_store(self.settings)
            warn_if_unread(self._writer)
        return self._writer

    def _send(self, ready: Sequence[ReadyStep]) -> None:
        store = self._sending()
        if ready and not store.pushes:
            if self._dispatch is None:
                self._dispatch = dispatcher(store, self.settings)
            self._dispatch(ready)


@dataclass(frozen=True, slots=True)
class RunHandle:
    """A run that was enqueued.

    Attributes:
        client: the client that reads and changes it.
        thread_id: the thread it runs on.
        run_id: the run.
    """

    client: Client
    thread_id: str
    run_id: str

    @property
    def status(self) -> str:
        """Return what the run is doing: queued, running, paused, succeeded, failed, cancelled."""
        return self.client.status(self.thread_id, self.run_id)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the run and return its output.

        Args:
            timeout: seconds to wait at most.

        Raises:
            GraphPausedError: if the run waits for an answer; the message holds the questions.
            StepFailedError: if it failed.
            RunCancelledError: if it was cancelled.
            RunNotFinishedError: if it neither ends nor pauses in time; it continues all the same.
        """
        output = self.client.result(self.thread_id, timeout, run_id=self.run_id)
        asked = output.get(INTERRUPT) if isinstance(output, dict) else None
        if asked:
            listed = "; ".join(f"{i.id}: {i.value!r:.200}" for i in asked)
            msg = f"the run of thread {self.thread_id!r} waits for an answer: {listed}"
            raise GraphPausedError(msg)
        return output

    def wait(self, until: Until = None, timeout: float | None = None) -> StateSnapshot:
        """Wait until the run has come so far; return the state there. A failed run raises nothing.

        Args:
            until: a status, such as `"paused"`, or several; or a function that gets the snapshot
                whenever something happened, and returns whether to stop waiting. By default: until
                the run ends or pauses.
            timeout: seconds to wait at most.

        Raises:
            RunNotFinishedError: if it does not come so far in time, or ends before.
            OptionError: if `until` names no status.
        """
        return self.client.wait(self.thread_id, until, timeout, run_id=self.run_id)

    async def await_until(self, until: Until = None, timeout: float | None = None) -> StateSnapshot:  # noqa: ASYNC109 - as `wait`
        """Await `wait`."""
        return await in_thread(lambda: self.wait(until, timeout))

    def stream(
        self,
        from_seq: int = 0,
        *,
        stream_mode: str | Sequence[str] = "updates",
        subgraphs: bool = False,
        timeout: float | None = None,
    ) -> Iterator[StreamPart]:
        """Read what happens on the thread, from its event log, until the run ends or pauses.

        Many may read, late or again: with the `seq` of the last part that was read, a reader
        continues where it was, without gap or repetition. Where events cannot be read any more,
        because the log was trimmed, a part of the mode `gap` says which.

        Args:
            from_seq: the `seq` of the part after which to begin, or the number of an event, after
                all of whose parts to begin; 0: with the beginning.
            stream_mode: what to show, one mode or several. `"messages"` only for a run that was
                submitted with `stream_mode="messages"`.
            subgraphs: whether to show what happens inside subgraphs.
            timeout: seconds to wait for the run to end or pause.

        Raises:
            OptionError: if the messages of the run are not kept, or a mode does not exist.
            RunNotFinishedError: if it does not end or pause in time.
        """
        return self.client.stream(
            self.thread_id,
            from_seq,
            stream_mode=stream_mode,
            subgraphs=subgraphs,
            timeout_s=timeout,
        )

    async def aresult(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as `result`
        """Await `result`."""
        return await in_thread(lambda: self.result(timeout))

    async def astream(self, from_seq: int = 0, **options: Any) -> AsyncIterator[StreamPart]:
        """Iterate over what `stream` gives."""
        parts = self.stream(from_seq, **options)
        while (part := await in_thread(lambda: next(parts, None))) is not None:
            yield part

    def cancel(self) -> bool:
        """End the run; return whether there was anything to end."""
        return self.client.cancel(self.thread_id, self.run_id)
