"""One call of a graph on a thread: what is committed to begin, who runs it, what comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.checkpointer.overlay import Overlay
from orchestrator.client import callbacks
from orchestrator.client.children import Children
from orchestrator.client.options import CallOptions, OptionError, check_output_keys
from orchestrator.client.results import INTERRUPT, GraphOutput, outcome_of, without_questions
from orchestrator.client.starting import Start
from orchestrator.client.threadconfig import RootCheckpointerError, ThreadConfig
from orchestrator.dispatch.await_run import run_of
from orchestrator.dispatch.local import InProcess, LocalRun
from orchestrator.engine.accept import RunConfig, left_behind
from orchestrator.engine.resume import missing
from orchestrator.errors import (
    InvalidUpdateError,
    ThreadBusyError,
    UnserializableValueError,
)
from orchestrator.graph.routing import START, plain_name
from orchestrator.graph.scope import current_scope
from orchestrator.ids import new_uuid, root_thread
from orchestrator.model.commit import LoadedThread, ReadyStep
from orchestrator.step.access import Access, new_owner
from orchestrator.step.bridge import GraphRun, graph_run
from orchestrator.step.cancelscope import check_cancelled
from orchestrator.step.facts import Listener
from orchestrator.step.lease import keeping
from orchestrator.step.live import Live
from orchestrator.step.protocol import StepProtocol
from orchestrator.step.surroundings import context_for

if TYPE_CHECKING:
    from orchestrator.client.compiled import CompiledStateGraph

__all__ = ["Running"]


@dataclass(slots=True)
class Running:
    """One call of a graph on a thread."""

    graph: CompiledStateGraph
    store: Checkpointer
    thread_id: str
    parsed: ThreadConfig
    options: CallOptions
    keeps: bool  # Whether the thread outlives the call.
    listener: Listener | None = None
    wants_messages: bool = False  # Whether tokens of language models are read.
    resumes: bool = field(default=False, init=False)
    is_reported: bool = field(default=False, init=False)  # To handlers, that the run rests.
    run_id: str = field(default="", init=False)  # Of the run that began or goes on.
    _protocol: StepProtocol | None = field(default=None, init=False)
    trace: GraphRun = field(default_factory=GraphRun, init=False)  # What handlers hear of it.

    @classmethod
    def of(cls, graph: CompiledStateGraph, parsed: ThreadConfig, options: CallOptions) -> Running:
        """Return a call, with a place for its thread.

        Raises:
            ConfigError: if the graph keeps threads and the config names none.
        """
        store = graph.checkpointer
        if isinstance(store, bool):
            if store and current_scope.get() is None:
                msg = (
                    "checkpointer=True cannot be used for root graphs: it is for subgraphs, so "
                    "give a checkpointer to the outermost graph"
                )
                raise RootCheckpointerError(msg)
            store = None
        if store is None:
            thread_id, parsed = parsed.thread_id or new_uuid(), parsed.without_thread()
            return cls(graph, MemoryCheckpointer(), thread_id, parsed, options, keeps=False)
        thread_id = parsed.thread()
        if current_scope.get() is None:  # Else it may be the config of the step around the call.
            thread_id = root_thread(thread_id)[0]
        durability = options.get("durability")
        here = isinstance(graph.executor, InProcess)
        follows = durability == "async" and store.shared  # In memory a commit takes no time.
        if here and (follows or durability == "exit"):
            store = Overlay(store, new_owner(), graph.owner, trails=follows)
            store.adopt(thread_id, graph.records, left=partial(left_behind, graph.records))
        return cls(graph, store, thread_id, parsed, options, keeps=True)

    @property
    def is_child(self) -> bool:
        """Whether the call stands in a node and the graph keeps its state with the graph around."""
        kept = self.graph.checkpointer
        return current_scope.get() is not None and (kept is None or isinstance(kept, bool))

    # ---- to the end -----------------------------------------------------------------------------

    def result(self, value: Any) -> Any:
        """Run to rest and return the output; see `CompiledStateGraph.invoke`."""
        scope = current_scope.get()
        if scope is not None and self.is_child:
            return scope.host.run_child(self.graph, value, {"config": self.parsed})
        with self.told(value), self.kept():
            ready = self.begin(value)
            error: BaseException | None = None
            if ready is not None:
                # A copy: a signal may strike where a step's context is set, and not undone yet.
                error = copy_context().run(self._proceed, ready)
            found = self.output(error)
            self.trace.output = without_questions(found)
        return found

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Store what is not stored yet when the block ends, by the `durability` of the call."""
        if not isinstance(self.store, Overlay):
            yield
            return
        base, owner = self.store.base, self.graph.owner
        with keeping(base, owner), self.store.kept(Access(base, owner).patiently):
            yield

    @contextmanager
    def told(self, value: Any) -> Iterator[None]:
        """Tell langchain's handlers that the graph runs while the block does."""
        parsed, name = self.parsed, self.graph.trace_name
        with graph_run(name, value, {**parsed.more, "metadata": parsed.shown}) as self.trace:
            yield

    def _proceed(self, ready: tuple[ReadyStep, ...]) -> BaseException | None:
        executor = self.graph.executor
        if isinstance(executor, InProcess):
            executor = self._limited(executor)
        return executor.proceed(self.protocol(), self.thread_id, ready, self.run_id)

    def local(self, ready: tuple[ReadyStep, ...]) -> LocalRun:
        """Return the run as this process does it, a round at a time."""
        executor = self.graph.executor
        assert isinstance(executor, InProcess)
        limited = self._limited(executor)
        return limited.begin(self.protocol(), self.thread_id, ready, self.run_id)

    def _limited(self, executor: InProcess) -> InProcess:
        """Return the executor with the limits of the call and of the graph."""
        size, limit = self.parsed.concurrency_max, self.graph.step_timeout
        if size is None and limit is None:
            return executor
        size = executor.concurrency_max if size is None else size
        return dataclasses.replace(executor, concurrency_max=size, step_timeout_s=limit)

    def output(self, error: BaseException | None) -> Any:
        """Return the output of the run at rest."""
        loaded = self.rested()
        graph = self.graph
        if loaded.head.status.active:
            msg = (
                f"the thread {self.thread_id!r} is busy: its run {loaded.head.run_id} went on in "
                f"another process before this call ended. Wait for it, then look at get_state"
            )
            raise ThreadBusyError(msg)
        callbacks.report_rest(self, loaded)
        found = outcome_of(
            self.parsed.thread_id or self.thread_id,
            loaded,
            graph.records,
            graph.spec,
            error,
            self.output_keys,
        )
        own = graph.untracked.values(self.thread_id)
        if own and isinstance(found, dict):
            keys = self.output_keys or graph.spec.output_keys
            found = {**found, **{key: own[key] for key in keys if key in own}}
        asked: list[Any] = []
        if isinstance(self.options.get("output_keys"), str) and isinstance(found, Mapping):
            asked, found = found.get(INTERRUPT, asked), found.get(self.output_keys[0])
        if self.options.get("version") == "v2":
            return self._as_v2(found, asked)
        return {INTERRUPT: asked} if asked else found

    def rested(self) -> LoadedThread:
        """Return the thread as the run left it."""
        loaded = run_of(self.store, self.thread_id, self.run_id)
        if loaded is None:  # It was deleted meanwhile.
            raise missing(self.thread_id)
        return loaded

    def _as_v2(self, found: Any, asked: Sequence[Any]) -> GraphOutput[Any]:
        interrupts = tuple(asked)
        if isinstance(found, dict) and INTERRUPT in found:
            interrupts = tuple(found[INTERRUPT])
            found = {key: value for key, value in found.items() if key != INTERRUPT}
        return GraphOutput(self.graph.spec.as_output(found), interrupts)

    @property
    def output_keys(self) -> tuple[str, ...]:
        """Return the keys of the state to show, if not the graph's output."""
        keys = self.options.get("output_keys")
        return (keys,) if isinstance(keys, str) else tuple(keys or ())

    def begin(self, value: Any) -> tuple[ReadyStep, ...] | None:
        """Commit what the call asks for; return the steps that are ready, `None` for nothing."""
        check_cancelled()
        check_output_keys(self.options, self.graph.spec.state_keys)
        self._check_placed()
        self._protocol = self._made()  # What it cannot be made of is refused before anything else.
        start = Start(self.graph, self.store, self.thread_id, self.parsed, self._run_config())
        ready = start.begin(value)
        self.resumes, self.run_id = start.resumes, start.run_id
        if start.resumes:
            callbacks.report_resumed(self)
        return ready

    def _check_placed(self) -> None:
        """Refuse options that only the process that runs the steps could honour."""
        if not self.graph.executor.default_queue:
            return
        if self.graph.step_timeout is not None:
            msg = (
                f"step_timeout must be None for a graph that a fleet runs "
                f"(step_timeout={self.graph.step_timeout!r}): no process waits for a superstep "
                f"there. Limit its nodes, with add_node(…, timeout=…)"
            )
            raise OptionError(msg)
        for name in ("interrupt_before", "interrupt_after", "control"):
            if not (given := self.options.get(name)):
                continue
            remedy = f"give {name} to compile()" if name != "control" else "cancel the run"
            msg = (
                f"{name} must be absent for a run on a fleet ({given!r:.100}): workers run the "
                f"steps, not this call. Instead, {remedy}"
            )
            raise OptionError(msg)

    def _run_config(self) -> RunConfig:
        run = self.graph.run_config(self.parsed, self.options)
        context = self.options.get("context")
        if self.graph.executor.default_queue:
            return dataclasses.replace(run, context=context, messages=self.wants_messages)
        records = self.graph.records
        kept, metadata = (
            {k: v for k, v in given.items() if _storable(records, v)}
            for given in (run.configurable, run.metadata)
        )
        return dataclasses.replace(run, configurable=kept, metadata=metadata)

    # ---- who runs it ----------------------------------------------------------------------

    def protocol(self) -> StepProtocol:
        """Return the protocol by which this process does the run's steps."""
        assert self._protocol is not None, "a call begins before it runs"
        return self._protocol

    def _made(self) -> StepProtocol:
        graph, options, size = self.graph, self.options, self.parsed.concurrency_max
        live = Live(
            store=graph.store,
            cache=graph.cache,
            children=Children(),
            listener=self.listener,
            context=context_for(graph.spec.context_schema, options.get("context")),
            config={
                **self.parsed.more,
                "callbacks": self.trace.callbacks,
                "configurable": self.parsed.configurable,
                "metadata": self.parsed.shown,
                **({"max_concurrency": size} if size is not None else {}),
            },
            control=options.get("control"),
            untracked=graph.untracked,
            messages=self.wants_messages,
            is_named=self.parsed.thread_id is not None,
            keeps=self.keeps,
        )
        return dataclasses.replace(
            graph.protocol(self.store, live),
            breaks_after=self._breaks("interrupt_after"),
            breaks_before=self._breaks("interrupt_before"),
        )

    def _breaks(self, which: str) -> frozenset[str] | None:
        nodes: Any = self.options.get(which)
        if nodes is None:
            return None
        spec = self.graph.spec
        chosen = set(spec.nodes) - {START} if nodes == "*" else set(map(plain_name, nodes))
        unknown = sorted(chosen - spec.breakable)
        if unknown:
            msg = f"{which} names {unknown[0]!r}, which is no node of {self.graph.name!r}"
            raise InvalidUpdateError(msg)
        return frozenset(chosen)


def _storable(records: Any, value: Any) -> bool:
    """Return whether a value of the config can be stored; others serve this process only."""
    try:
        records.encode(value)
    except UnserializableValueError:
        return False
    return True
