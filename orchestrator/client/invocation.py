"""One call of a graph on a thread: the commit that begins it, its steps, its output."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from orchestrator.channels import MISSING
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.checkpointer.overlay import Overlay
from orchestrator.client.address import Address, Addresses
from orchestrator.client.callbacks import pause_handlers, report_paused, report_resumed
from orchestrator.client.graph_base import GraphBase
from orchestrator.client.options import (
    CallOptions,
    ConfigError,
    OptionError,
    RootCheckpointerError,
    ThreadConfig,
    check_output_keys,
)
from orchestrator.client.results import INTERRUPT, GraphOutput, outcome_of, without_questions
from orchestrator.client.subgraphs import step_runner, surroundings
from orchestrator.client.thread_calls import Calls
from orchestrator.clock import SystemClock
from orchestrator.dispatch.await_run import run_of
from orchestrator.dispatch.local import InProcess, LocalRun
from orchestrator.engine.accept import RunConfig, left_behind
from orchestrator.engine.carryover import Spot
from orchestrator.engine.compat import mismatch
from orchestrator.engine.edit import Editor
from orchestrator.engine.questions import open_questions
from orchestrator.engine.resume import missing
from orchestrator.engine.settle import Stepping
from orchestrator.errors import (
    EmptyInputError,
    GraphMismatchError,
    InvalidUpdateError,
    NoPendingInterruptError,
    StateCorruptedError,
    ThreadBusyError,
    UnknownThreadError,
    UnserializableValueError,
)
from orchestrator.graph.routing import START, Command, own, plain_name
from orchestrator.graph.scope import current_scope
from orchestrator.ids import new_uuid, root_thread
from orchestrator.integrations.langchain import GraphRun, graph_run
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import LoadedThread, ReadyStep
from orchestrator.step import invoke
from orchestrator.step.async_loop import check_cancelled
from orchestrator.step.context import context_for
from orchestrator.step.facts import Listener
from orchestrator.step.held_claims import keeping
from orchestrator.step.invoke import check_command, updates_of
from orchestrator.step.runner import StepRunner
from orchestrator.step.store_access import Access, new_owner
from orchestrator.step.untracked import split_input


@dataclass(slots=True)
class Invocation:
    """One call of a graph on a thread."""

    graph: GraphBase
    store: Checkpointer
    thread_id: str
    parsed: ThreadConfig
    options: CallOptions
    keeps: bool  # Whether the thread outlives the call.
    listener: Listener | None = None
    wants_messages: bool = False  # Whether tokens of language models are read.
    resumes: bool = field(default=False, init=False)
    _is_reported: bool = field(default=False, init=False)  # To handlers, that the run paused.
    run_id: str = field(default="", init=False)  # Of the run that began or continues.
    _run: RunConfig = field(init=False)  # What a new run is started with.
    _runner: StepRunner | None = field(default=None, init=False)
    trace: GraphRun = field(default_factory=GraphRun, init=False)  # What handlers hear of it.

    @classmethod
    def of(cls, graph: GraphBase, parsed: ThreadConfig, options: CallOptions) -> Invocation:
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
        """Whether a node makes the call, and the graph around it keeps the state."""
        kept = self.graph.checkpointer
        return current_scope.get() is not None and (kept is None or isinstance(kept, bool))

    # ---- to the end -----------------------------------------------------------------------------

    def result(self, value: Any) -> Any:
        """Run until the run ends or pauses; return the output. See `CompiledStateGraph.invoke`."""
        scope = current_scope.get()
        if scope is not None and self.is_child:
            return scope.host.run_child(self.graph, value, {"config": self.parsed})
        with self.traced(value), self.kept():
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
    def traced(self, value: Any) -> Iterator[None]:
        """Report to langchain's handlers that the graph runs while the block does."""
        parsed, name = self.parsed, self.graph.trace_name
        with graph_run(name, value, {**parsed.more, "metadata": parsed.shown}) as self.trace:
            yield

    def _proceed(self, ready: tuple[ReadyStep, ...]) -> BaseException | None:
        executor = self.graph.executor
        if isinstance(executor, InProcess):
            executor = self._limited(executor)
        return executor.proceed(self.runner(), self.thread_id, ready, self.run_id)

    def local(self, ready: tuple[ReadyStep, ...]) -> LocalRun:
        """Return the run as this process does it, a round at a time."""
        executor = self.graph.executor
        assert isinstance(executor, InProcess)
        limited = self._limited(executor)
        return limited.begin(self.runner(), self.thread_id, ready, self.run_id)

    def _limited(self, executor: InProcess) -> InProcess:
        """Return the executor with the limits of the call and of the graph."""
        size, limit = self.parsed.concurrency_max, self.graph.step_timeout
        if size is None and limit is None:
            return executor
        size = executor.concurrency_max if size is None else size
        return dataclasses.replace(executor, concurrency_max=size, step_timeout_s=limit)

    def output(self, error: BaseException | None) -> Any:
        """Return the output of the run that ended or paused."""
        loaded = self.left_thread()
        graph = self.graph
        if loaded.head.status.active:
            msg = (
                f"the thread {self.thread_id!r} is busy: its run {loaded.head.run_id} continued "
                f"in another process before this call ended. Wait for it, then read get_state"
            )
            raise ThreadBusyError(msg)
        self.report_paused(loaded)
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

    def left_thread(self) -> LoadedThread:
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
        self._runner = self._made()  # Options that fit no graph are refused before the commit.
        self._run = self._run_config()
        ready = self._commit(value)
        if self.resumes and (handlers := self._handlers()):
            loaded = self.store.load(self.thread_id, values=False)
            assert loaded is not None
            report_resumed(handlers, self._traced_as, self.thread_id, loaded)
        return ready

    def report_paused(self, loaded: LoadedThread) -> None:
        """Report to handlers, once, that the run paused because it asks something."""
        handlers = self._handlers()
        if not handlers or self._is_reported or loaded.head.status is not RunStatus.PAUSED:
            return
        self._is_reported = True
        report_paused(handlers, self._traced_as, self.thread_id, loaded, self.graph.records)

    def _handlers(self) -> list[Any]:
        return pause_handlers(self.parsed.more.get("callbacks"), self.trace.callbacks)

    @property
    def _traced_as(self) -> Any:
        """Return the id under which handlers know the run."""
        return self.trace.run_id or self.parsed.more.get("run_id")

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

    # ---- the commit ---------------------------------------------------------------------------

    @property
    def _addresses(self) -> Addresses:
        return Addresses(self.graph, self.store, self.thread_id)

    @property
    def _calls(self) -> Calls:
        queue = self.graph.default_queue
        return Calls(self.store, self.graph.records, queue, "" if queue else self.graph.owner)

    def _commit(self, value: Any) -> tuple[ReadyStep, ...] | None:
        """Commit the input, the answer or the continuation; return the steps that are ready."""
        value = own(value)
        continues = value is None or isinstance(value, Command)
        loaded = self.store.load(self.thread_id, values=False) if continues else None
        if continues:
            self._check_structure(loaded)
            self.run_id = loaded.head.run_id if loaded else ""
        if isinstance(value, Command):
            return self._command(value, loaded)
        address = self._address()
        if value is None:
            self.resumes = True
            if address is not None:
                self._branch(address.spot)
            return self._carry_on()
        return self._accept(value, address.spot.checkpoint_id if address else None)

    def _address(self) -> Address | None:
        """Return the checkpoint that the config names, if that is not the latest one."""
        at, ns = self.parsed.checkpoint_id, root_thread(self.thread_id)[1]
        if ns:  # The graph keeps its threads apart from those of the graph around the call.
            return None if at is None else Address(Spot("", at))
        found = self._addresses.of(self.parsed)
        return None if found is None or found.latest else found

    def _accept(self, value: Any, at: int | None, **more: Any) -> tuple[ReadyStep, ...]:
        graph = self.graph
        spec = graph.spec
        if spec.start.action is None and not more.get("keeps_steps"):
            updates_of(spec, spec.start, value)  # What is no input must not end a run.
        run = dataclasses.replace(self._run, **more)
        own: dict[str, Any] = {}
        if not graph.executor.default_queue:  # Else another process takes the input.
            value, own = split_input(value, spec)
        self.run_id, ready = self._calls.accept(self.thread_id, graph.name, value, run, at)
        graph.untracked.set(self.thread_id, own)
        return ready

    def _command(
        self, command: Command[Any], loaded: LoadedThread | None
    ) -> tuple[ReadyStep, ...] | None:
        if command.graph is not None:
            raise InvalidUpdateError("there is no graph around this one: leave out graph=…")
        routes = command.update is not None or bool(command.goto)
        if command.resume is MISSING and not routes:
            msg = (
                "the Command is empty: Command(resume=answer) answers what the thread asks, "
                "Command(update=…, goto=…) changes it and routes it"
            )
            raise EmptyInputError(msg)
        address = self._address()
        if not routes:
            self.resumes = True
            if address is not None and not (address.repeated and _asks(loaded)):
                self._branch(self._addresses.answered(address, command.resume))
                return self._carry_on()
            return self._answer(command.resume)
        goto = self._targets(command)
        check_command(self.graph.spec, command.update, goto)
        if loaded is None and command.resume is MISSING:
            update = {} if command.update is None else command.update
            return self._accept(update, None, goto=goto, keeps_steps=True)
        if loaded is None:
            raise self._asks_nothing()
        self.resumes, resume = True, command.resume
        if address is not None:
            if address.path:
                msg = (
                    f"a Command that updates or leads is for the outermost graph, and the config "
                    f"names a checkpoint of the subgraph {address.named.ns!r}: give the config of "
                    f"a checkpoint of the graph, or change the subgraph with update_state"
                )
                raise ConfigError(msg)
            self._branch(
                address.spot if resume is MISSING else self._addresses.answered(address, resume)
            )
            resume = MISSING
        return self._accept(command.update, None, goto=goto, keeps_steps=True, resume=resume)

    def _targets(self, command: Command[Any]) -> tuple[Any, ...]:
        try:
            return command.targets()
        except TypeError:
            msg = f"Command(goto={command.goto!r}): expected a node, a Send, or a list of them"
            raise InvalidUpdateError(msg) from None

    def _answer(self, resume: Any) -> tuple[ReadyStep, ...]:
        try:
            limit = self.parsed.recursion_limit
            return self._calls.answer(
                self.thread_id, resume, recursion_limit=limit, call=self._run.call
            )
        except UnknownThreadError:
            raise self._asks_nothing() from None

    def _carry_on(self) -> tuple[ReadyStep, ...] | None:
        return self._calls.carry_on(self.thread_id, self.parsed.recursion_limit, self._run.call)

    def _asks_nothing(self) -> NoPendingInterruptError:
        if self.graph.checkpointer is None:
            return NoPendingInterruptError(
                "a graph without a checkpointer keeps no question that could be answered: give "
                "compile() a checkpointer"
            )
        return NoPendingInterruptError(
            f"the thread {self.thread_id!r} does not exist, so it asks nothing: start a run on it"
        )

    def _branch(self, spot: Spot) -> None:
        """Make a checkpoint the head again, as a new branch."""
        graph, calls = self.graph, self._calls
        stepping = Stepping(graph.spec, graph.records, graph.executor.default_queue)

        def decide(head: LoadedThread | None) -> Any:
            editor = Editor(
                stepping=stepping,
                returns=invoke,
                thread_id=self.thread_id,
                loaded=head,
                base=calls.at(self.thread_id, spot.checkpoint_id),
                run=self._run,
                now_ms=calls.clock.now_ms(),
            )
            return editor.branch("fork", spot=spot)

        calls.edit(self.thread_id, decide)

    def _check_structure(self, loaded: LoadedThread | None) -> None:
        """Refuse to run steps that a graph of another structure has planned."""
        if loaded is None or not loaded.steps:
            return
        records, stored = self.graph.records, loaded.checkpoint
        try:
            checkpoint = records.checkpoint(stored.header, stored.plan)
        except StateCorruptedError:
            return  # The load that needs the damaged part raises it.
        waiting = [records.step(s.step).node for s in loaded.steps.values() if not s.completed]
        why = mismatch(self.graph.spec, loaded.head, checkpoint, waiting)
        if why:
            nodes = ", ".join(map(repr, waiting))
            msg = f"the thread {self.thread_id!r} waits in {nodes}: {why}, or start a new run"
            raise GraphMismatchError(msg)

    # ---- who runs it ----------------------------------------------------------------------

    def runner(self) -> StepRunner:
        """Return the runner of the run's steps in this process."""
        assert self._runner is not None, "a call begins before it runs"
        return self._runner

    def _made(self) -> StepRunner:
        graph, options, size = self.graph, self.options, self.parsed.concurrency_max
        executor = graph.executor
        clock = executor.clock if isinstance(executor, InProcess) else SystemClock()
        live = surroundings(
            graph,
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
        return step_runner(
            graph,
            Access(self.store, graph.owner, clock=clock),
            executor.default_queue,
            live,
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


def _asks(loaded: LoadedThread | None) -> bool:
    return loaded is not None and bool(open_questions(loaded))
